//! Containers and slices with limits.

use super::Tree;

const MIB: u64 = 1 << 20;

/// A machine of 1000 MiB with 800 left.
fn machine() -> Tree {
    let tree = Tree::new();
    tree.file(
        "proc/meminfo",
        "MemTotal: 1024000 kB\nMemAvailable: 819200 kB\nSwapTotal: 102400 kB\nSwapFree: 102400 kB\n",
    )
    .file("proc/stat", "cpu  0 0 0 0 0\ncpu0 0 0\ncpu1 0 0\ncpu2 0 0\ncpu3 0 0\n")
    .file("proc/uptime", "100.00 1.00\n")
    .file("proc/self/cgroup", "0::/\n");
    tree
}

#[test]
fn memory_is_what_the_container_may_use() {
    for (files, expected) in [
        // limit, use, of it droppable
        (&[("memory.max", "max\n")][..], (1000, Some(800), false)),
        (&[("memory.max", "419430400"), ("memory.current", "104857600")], (400, Some(300), true)),
        (
            &[
                ("memory.max", "419430400"),
                ("memory.current", "314572800"),
                ("memory.stat", "anon 1\nactive_file 7\ninactive_file 209715200\ninactive_file_x 1\n"),
            ],
            (400, Some(300), true),
        ),
        (&[("memory.max", "max"), ("memory.high", "209715200"), ("memory.current", "0")], (200, Some(200), true)),
        // The machine around has less left than the limit allows.
        (&[("memory.max", "943718400"), ("memory.current", "0")], (900, Some(800), true)),
        // Use above the limit, for instance just after it was lowered.
        (&[("memory.max", "104857600"), ("memory.current", "943718400")], (100, Some(0), true)),
        // What is left is not told: no more than all of it.
        (&[("memory.max", "104857600")], (100, Some(100), true)),
        (&[("memory.max", "9223372036854771712"), ("memory.current", "1")], (1000, Some(800), false)),
        (&[("memory.max", "lots"), ("memory.current", "-1")], (1000, Some(800), false)),
    ] {
        let tree = machine();
        tree.files("sys/fs/cgroup", files);
        let memory = tree.prober().sample().memory.unwrap();
        let found = (memory.total.unwrap() / MIB, memory.available.map(|left| left / MIB), memory.limited);
        assert_eq!(found, expected, "{files:?}");
    }
}

#[test]
fn limits_of_all_levels_count_and_the_narrowest_wins() {
    let tree = machine();
    tree.file("proc/self/cgroup", "1:name=systemd:/x\n0::/user.slice/herd.service\n")
        .files("sys/fs/cgroup/user.slice", &[("memory.max", "419430400"), ("memory.current", "367001600")])
        .files("sys/fs/cgroup/user.slice/herd.service", &[("memory.max", "209715200"), ("memory.current", "1048576")])
        .file("sys/fs/cgroup/user.slice/cpu.max", "150000 100000\n")
        .file("sys/fs/cgroup/user.slice/herd.service/cpu.max", "max 100000\n");
    let sample = tree.prober().sample();
    let memory = sample.memory.unwrap();
    assert_eq!((memory.total, memory.available), (Some(200 * MIB), Some(50 * MIB)));
    assert_eq!(sample.cpu.unwrap().limit, Some(1.5));
}

#[test]
fn a_path_that_leads_outside_is_not_followed() {
    let tree = machine();
    tree.file("proc/self/cgroup", "0::/../../elsewhere\n")
        .file("sys/fs/elsewhere/memory.max", "1")
        .file("sys/fs/cgroup/memory.max", "104857600");
    assert_eq!(tree.prober().sample().memory.unwrap().total, Some(100 * MIB));
}

#[test]
fn swap_that_is_forbidden_is_none() {
    let tree = machine();
    tree.files("sys/fs/cgroup", &[("memory.swap.max", "0\n"), ("memory.swap.current", "0\n")]);
    let memory = tree.prober().sample().memory.unwrap();
    assert_eq!((memory.swap_total, memory.swap_used), (Some(0), Some(0)));
}

#[test]
fn load_is_of_the_time_that_the_container_may_use() {
    let tree = machine();
    tree.files("sys/fs/cgroup", &[("cpu.max", "200000 100000\n"), ("cpu.stat", "usage_usec 1000000\nuser_usec 5\n")]);
    let mut prober = tree.prober();
    let first = prober.sample().cpu.unwrap();
    assert_eq!((first.percent, first.limit, first.logical), (None, Some(2.0), Some(4)));
    // Ten seconds in which the container used five of its twenty, and the machine nothing else.
    tree.file("proc/uptime", "110.00 1.00\n")
        .file("sys/fs/cgroup/cpu.stat", "usage_usec 6000000\n")
        .file("proc/stat", "cpu  500 0 0 3500 0\n");
    assert_eq!(prober.sample().cpu.unwrap().percent, Some(25.0));
    // Ten more in which others kept the machine busy.
    tree.file("proc/uptime", "120.00 1.00\n").file("proc/stat", "cpu  4100 0 0 3900 0\n");
    assert_eq!(prober.sample().cpu.unwrap().percent, Some(90.0));
    // A limit of nothing or of nonsense is none.
    for text in ["0 100000", "100000 0", "100000", "x y", "", "-1 100000"] {
        tree.file("sys/fs/cgroup/cpu.max", text);
        assert_eq!(tree.prober().sample().cpu.and_then(|cpu| cpu.limit), None, "{text:?}");
    }
}
