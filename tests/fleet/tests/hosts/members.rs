//! Machines that are removed, and machines that leave.

use std::time::Duration;

use fleet_tests::hosts::{Home, Programs, within};

#[test]
fn who_is_removed_is_out_at_once_and_who_has_left_may_join_again() {
    let Some(mut home) = Home::paired(4, &Programs::built()) else { return };
    home.list_soon(&home.all(), &home.all());
    // There at that moment.
    home.remove(1, 4);
    home.list_soon(&[1, 2, 3], &[1, 2, 3]);
    home.list_soon(&[4], &[4]);
    home.host_mut(4).kill();
    home.host_mut(4).start();
    home.host_mut(4).is_up_soon();

    // Away at that moment: when it comes back it is hung up on, and says so; after leaving it may join again.
    home.host_mut(3).kill();
    let removed = home.host(1).run(&["remove", &home.host(3).name, "--yes", "--json"]);
    assert_eq!(removed.code, Some(0), "{removed:?}");
    home.agree_soon(&[1, 2]);
    // Members keep their door open for a moment to tell who is removed.
    std::thread::sleep(Duration::from_secs(1));
    home.host_mut(3).start();
    home.host_mut(3).is_up_soon();
    let says =
        || home.host(3).run(&["doctor"]).lines.iter().any(|line| line.to_string().contains("removed")).then_some(());
    assert!(within(Duration::from_secs(30), says).is_some(), "{:?}", home.host(3).run(&["doctor"]));
    assert_eq!(home.host(3).hears(), [home.host(3).name.clone()]);
    home.list_soon(&[3], &[3]);
    assert_eq!(home.host(1).run(&["devices", "--json"]).lines.len(), 2);
    let unknown = home.host(1).run(&["remove", "nobody-here", "--yes", "--json"]);
    assert_eq!(unknown.code, Some(5), "{unknown:?}");
    let left = home.host(3).run(&["leave", "--yes", "--json"]);
    assert_eq!(left.code, Some(0), "{left:?}");
    let (_, joined) = home.pair(2, 3);
    assert_eq!(joined.code, Some(0), "{joined:?}");
    home.agree_soon(&[1, 2, 3]);

    // By its own wish.
    let left = home.host(2).run(&["leave", "--yes", "--json"]);
    assert_eq!(left.code, Some(0), "{left:?}");
    home.agree_soon(&[1, 3]);
    home.list_soon(&[1, 3], &[1, 3]);
    home.list_soon(&[2], &[2]);
    let (_, joined) = home.pair(1, 2);
    assert_eq!(joined.code, Some(0), "{joined:?}");
    home.agree_soon(&[1, 2, 3]);
    home.list_soon(&[1, 2, 3], &[1, 2, 3]);
}
