//! The shipped examples come up, answer, and go away.

use std::time::Duration;

use serde_json::Value;

use crate::support::observe::{eventually, http_get};
use crate::support::town::{Machine, Town};

#[test]
fn hello_comes_up_and_greets() {
    let machine = Machine::take();
    let town = Town::copy_of("examples/hello");
    let picture = town.ok(&["up", "-d"]);
    assert!(
        picture.contains("http://127.0.0.1:"),
        "says where to look: {picture}"
    );
    let page = http_get(town.address("web"), "/").expect("the page");
    assert!(
        page.contains("traveller") && page.contains("host      almanac"),
        "{page}"
    );
    town.ok(&["down"]);
    machine.assert_clean();
}

#[test]
fn the_shop_sells_and_remembers() {
    let machine = Machine::take();
    let town = Town::copy_of("examples/shop");
    town.ok(&["up", "-d"]);
    assert_eq!(town.service("migrate")["state"], "completed");
    let products: Value =
        serde_json::from_str(&http_get(town.address("gateway"), "/api/products").expect("products"))
            .expect("json");
    assert_eq!(products.as_array().map(Vec::len), Some(4), "{products}");
    let order = "python -c \"import httpx; print(httpx.post('http://127.0.0.1:' + __import__('os').environ['PORT'] + '/orders', json={'product': 1}).status_code)\"";
    assert_eq!(town.inside("api", order), "201");
    assert!(
        http_get(town.address("gateway"), "/")
            .expect("page")
            .contains("1 × "),
        "sold"
    );
    town.ok(&["down"]);
    town.ok(&["up", "-d"]);
    eventually("the order is still there", Duration::from_secs(5), || {
        http_get(town.address("gateway"), "/api/orders").is_ok_and(|text| text.contains("\"count\":1"))
    });
    town.ok(&["down", "--volumes", "--yes"]);
    machine.assert_clean();
}
