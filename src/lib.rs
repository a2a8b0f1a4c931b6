//! pactown.
