//! Prints what sandboxes need of this host, a line each: `features [DIRECTORY…]`. For this crate's tests.
//!
//! Of each directory it says whether an id-mapped upper directory can lie there. A thread is always running beside.

use std::path::Path;
use std::time::Instant;

use pactown_runtime::support::{features, lacks_idmapped_upper};

fn main() {
    let _beside = std::thread::spawn(std::thread::park);
    let start = Instant::now();
    for feature in features() {
        let (name, remedy) = (feature.name, feature.remedy);
        match feature.missing {
            None => println!("{name}: there"),
            Some(why) => println!("{name}: MISSING: {why} ({remedy})"),
        }
    }
    eprintln!("{:?}", start.elapsed());
    for directory in std::env::args().skip(1) {
        match lacks_idmapped_upper(Path::new(&directory)) {
            None => println!("{directory}: takes it"),
            Some(why) => println!("{directory}: REFUSED: {why}"),
        }
    }
}
