//! Any text as `saas.pactown.yaml`: no panic; problems have a place in the file; what is accepted says the same when it
//! is written out in full and read again.

use std::path::Path;

use indexmap::IndexMap;
use pactown::config::{Ecosystem, normal_form, parse};

/// One file.
pub(crate) fn check(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    let file = Path::new("/town/saas.pactown.yaml");
    let read = |text: &str| parse(file, text, &IndexMap::new());
    // YAML knows a lone carriage return as the end of a line.
    let count = text.split(['\n', '\r']).count();
    match read(text) {
        Ok(loaded) => {
            let full = normal_form(&loaded.ecosystem).to_string();
            let again = read(&full).unwrap_or_else(|problems| panic!("{full}: {problems}"));
            assert_eq!(form(&loaded.ecosystem), form(&again.ecosystem));
        }
        Err(problems) => {
            assert!(problems.is_fatal());
            assert!(
                problems.0.iter().all(|problem| problem.place.line <= count),
                "{problems}"
            );
        }
    }
}

fn form(ecosystem: &Ecosystem) -> String {
    normal_form(ecosystem).to_string()
}
