//! What the tests stand on: disposable ecosystems, the machine's ledger, and small observers.
//! Nothing here uses the product's own code: it runs the binary and looks at the kernel.

pub(crate) mod layers;
pub(crate) mod ledger;
pub(crate) mod netns;
pub(crate) mod observe;
pub(crate) mod registry;
pub(crate) mod shelves;
pub(crate) mod skips;
pub(crate) mod town;
pub(crate) mod wheels;
