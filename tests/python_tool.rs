//! An ecosystem file and READMEs written for the Python tool of the same name run unmodified.

use serde_json::Value;

use crate::support::observe::http_get;
use crate::support::town::{Machine, Town};

#[test]
fn files_of_the_python_tool_run_unmodified() {
    let machine = Machine::take();
    let town = Town::copy_of("tests/fixtures/python_tool");
    town.ok(&["up", "-d"]);
    for row in town.services() {
        assert_eq!(row["state"], "running", "{row}");
    }
    let order: Value =
        serde_json::from_str(&http_get(town.address("orders"), "/orders/1").expect("orders")).expect("json");
    assert_eq!(
        order["user"]["name"], "user 1",
        "http://localhost:<port of a dependency> works inside"
    );
    let page = http_get(town.address("frontend"), "/order").expect("frontend");
    assert!(page.contains("user 1"), "{page}");
    let environment = http_get(town.address("orders"), "/environment").expect("environment");
    let environment: Value = serde_json::from_str(&environment).expect("json");
    assert_eq!(
        environment["USERS_API"], "http://users:8303",
        "a localhost endpoint becomes the service's name"
    );
    assert_eq!(environment["USERS_URL"], "http://users:8303");
    assert_eq!(environment["MARKPACT_PORT"], "8301");
    assert!(
        town.ok(&["logs", "ticker"]).contains("users: 200"),
        "the command was inferred from main.py"
    );
    town.ok(&["down"]);
    machine.assert_clean();
}
