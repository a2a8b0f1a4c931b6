//! Which part of the screen is whose. Pure: update asks it how much fits, draw where to draw.

use ratatui::layout::Rect;

/// From this width on the pane stands beside the list, not below.
const WIDE: u16 = 120;
/// The smallest screen on which anything can be shown.
pub(super) const LEAST: (u16, u16) = (40, 8);

/// The parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Layout {
    /// One line: what this is.
    pub(super) title: Rect,
    /// The list, its header included.
    pub(super) list: Rect,
    /// One line: the panes.
    pub(super) tabs: Rect,
    /// The pane.
    pub(super) pane: Rect,
    /// One line: keys, or what there is to say.
    pub(super) footer: Rect,
}

/// The parts of a screen of so many columns and lines, with so many services.
pub(super) fn of((width, height): (u16, u16), services: usize) -> Layout {
    let line = |y: u16| Rect::new(0, y, width, 1);
    let body = height.saturating_sub(2);
    let wanted = u16::try_from(services.max(1))
        .unwrap_or(u16::MAX)
        .saturating_add(1);
    let (title, footer) = (line(0), line(height.saturating_sub(1)));
    if width >= WIDE {
        let left = width * 11 / 20;
        let right = Rect::new(left + 1, 1, width - left - 1, body);
        return Layout {
            title,
            list: Rect::new(0, 1, left, body),
            tabs: Rect { height: 1, ..right },
            pane: Rect {
                y: 2,
                height: body.saturating_sub(1),
                ..right
            },
            footer,
        };
    }
    let list = wanted.min((body / 2).max(2));
    Layout {
        title,
        list: Rect::new(0, 1, width, list),
        tabs: line(1 + list),
        pane: Rect::new(0, 2 + list, width, body.saturating_sub(list + 1)),
        footer,
    }
}

/// The first row that a list of so many lines shows, so that the chosen one is among them.
pub(super) fn first_row(selected: usize, lines: usize) -> usize {
    (selected + 1).saturating_sub(lines.max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_fill_the_screen_and_never_leave_it() {
        for width in LEAST.0..200 {
            for height in LEAST.1..60 {
                for services in [0, 1, 3, 100] {
                    let parts = of((width, height), services);
                    let screen = Rect::new(0, 0, width, height);
                    for part in [parts.title, parts.list, parts.tabs, parts.pane, parts.footer] {
                        assert_eq!(part.intersection(screen), part, "{width}×{height}: {part:?}");
                        assert!(!part.is_empty(), "{width}×{height} {services}: {parts:?}");
                    }
                    assert_eq!(parts.pane.bottom(), parts.footer.y);
                    assert_eq!(parts.pane.right(), width);
                }
            }
        }
    }

    #[test]
    fn the_chosen_row_is_among_those_shown() {
        assert_eq!(first_row(0, 5), 0);
        assert_eq!(first_row(4, 5), 0);
        assert_eq!(first_row(5, 5), 1);
    }
}
