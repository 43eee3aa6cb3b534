//! Machines that are removed, and machines that leave.

use fleet_tests::hosts::{Home, Programs, within};
use std::time::Duration;

#[test]
fn who_is_removed_is_out_at_once_or_when_it_comes_back_and_who_leaves_may_join_again() {
    let Some(mut home) = Home::paired(4, &Programs::built()) else { return };
    home.list_soon(&home.all(), &home.all());
    // There at that moment.
    home.remove(1, 4);
    home.list_soon(&[1, 2, 3], &[1, 2, 3]);
    home.list_soon(&[4], &[4]);
    home.host_mut(4).kill();
    home.host_mut(4).start();
    home.host_mut(4).is_up_soon();

    // Away at that moment: it learns it when it comes back.
    home.host_mut(3).kill();
    let removed = home.host(1).run(&["remove", &home.host(3).name, "--yes", "--json"]);
    assert_eq!(removed.code, Some(0), "{removed:?}");
    home.agree_soon(&[1, 2]);
    home.host_mut(3).start();
    home.host_mut(3).is_up_soon();
    let knows = || (home.host(3).run(&["devices", "--json"]).lines.len() <= 1).then_some(());
    assert!(within(Duration::from_secs(40), knows).is_some(), "{:?}", home.host(3).run(&["devices", "--json"]));
    assert!(home.host(3).hears().iter().all(|name| *name == home.host(3).name));
    assert_eq!(home.host(1).run(&["devices", "--json"]).lines.len(), 2);
    let unknown = home.host(1).run(&["remove", "nobody-here", "--yes", "--json"]);
    assert_eq!(unknown.code, Some(5), "{unknown:?}");

    // By its own wish.
    let left = home.host(2).run(&["leave", "--yes", "--json"]);
    assert_eq!(left.code, Some(0), "{left:?}");
    home.agree_soon(&[1]);
    home.list_soon(&[1], &[1]);
    home.list_soon(&[2], &[2]);
    let (_, joined) = home.pair(1, 2);
    assert_eq!(joined.code, Some(0), "{joined:?}");
    home.agree_soon(&[1, 2]);
    home.list_soon(&[1, 2], &[1, 2]);
}
