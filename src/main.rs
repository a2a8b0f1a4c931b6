//! The `pactown` program: hands over to the library.

fn main() {}
