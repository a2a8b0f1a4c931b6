//! Values that no command shows, whatever it prints.

use std::borrow::Cow;
use std::sync::{PoisonError, RwLock};

use pactown_runtime::mask::Masker;
use serde_json::Value;

use super::{Output, write_out};
use crate::events::Event;
use crate::secrets::Secrets;

/// What nobody is to see. The one state that all printing shares: values are learnt while a command is under way.
static HIDDEN: RwLock<Vec<Masker>> = RwLock::new(Vec::new());

/// Has `***` shown in place of these values from now on, whatever prints.
pub(crate) fn hide(secrets: &Secrets) {
    if let Some(masker) = secrets.masker() {
        HIDDEN
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .push(masker);
    }
}

/// The text without what nobody is to see.
pub(crate) fn masked(text: &str) -> Cow<'_, str> {
    let hidden = HIDDEN.read().unwrap_or_else(PoisonError::into_inner);
    let mask = |text: Cow<'_, str>, masker: &Masker| Cow::Owned(masker.text(&text));
    match hidden.is_empty() {
        true => Cow::Borrowed(text),
        false => hidden.iter().fold(Cow::Owned(text.to_owned()), mask),
    }
}

/// The same in every text of a value: names and structure stay.
pub(super) fn masked_value(value: Value) -> Value {
    match value {
        Value::String(text) => Value::String(masked(&text).into_owned()),
        Value::Array(items) => items.into_iter().map(masked_value).collect(),
        Value::Object(entries) => entries
            .into_iter()
            .map(|(name, value)| (name, masked_value(value)))
            .collect(),
        other => other,
    }
}

impl Output {
    /// What happened, as one line of JSON.
    pub fn event(&self, event: &Event) {
        let event = event.clone().masked(|text| masked(text).into_owned());
        // A value that was read from JSON can be written as such.
        let text = serde_json::to_string(&event).unwrap_or_default();
        write_out(&format!("{text}\n"));
    }
}
