//! Files that no kernel writes.

use super::Tree;

const FILES: &[&str] = &[
    "proc/stat",
    "proc/meminfo",
    "proc/uptime",
    "proc/pressure/memory",
    "proc/self/cgroup",
    "proc/cpuinfo",
    "proc/sys/kernel/hostname",
    "etc/os-release",
    "sys/fs/cgroup/memory.max",
    "sys/fs/cgroup/memory.current",
    "sys/fs/cgroup/memory.stat",
    "sys/fs/cgroup/memory.swap.max",
    "sys/fs/cgroup/cpu.max",
    "sys/fs/cgroup/cpu.stat",
    "sys/class/drm/card0/device/uevent",
    "sys/class/drm/card0/device/mem_info_vram_total",
    "sys/class/drm/card0/device/mem_info_vram_used",
    "sys/class/drm/card0/device/gpu_busy_percent",
    "sys/class/drm/card0/device/hwmon/hwmon0/temp1_input",
    "sys/class/power_supply/BAT0/capacity",
    "sys/class/power_supply/BAT0/energy_now",
    "sys/class/power_supply/BAT0/energy_full",
    "sys/class/power_supply/BAT0/status",
    "sys/class/hwmon/hwmon0/temp1_input",
    "sys/devices/system/cpu/cpu0/thermal_throttle/package_throttle_count",
    "sys/devices/system/cpu/cpu0/topology/thread_siblings_list",
    "sys/class/dmi/id/product_name",
];

/// A machine each of whose files says `before` at the first sample and `after` at the second.
fn changing(before: &str, after: &str) -> crate::Sample {
    let tree = Tree::new();
    tree.file("sys/class/drm/card0/device/vendor", "0x1002")
        .file("sys/class/power_supply/BAT0/type", "Battery")
        .file("sys/class/hwmon/hwmon0/name", "k10temp");
    let all = |text: &str| {
        for file in FILES {
            tree.file(file, text);
        }
    };
    all(before);
    let mut prober = tree.prober();
    prober.sample();
    all(after);
    prober.sample()
}

fn holds(sample: &crate::Sample) {
    let json = serde_json::to_string(sample).unwrap();
    let shares = [
        sample.cpu.as_ref().and_then(|cpu| cpu.percent),
        sample.power.as_ref().and_then(|power| power.battery_percent),
        sample.memory.as_ref().and_then(|memory| memory.stalled_percent),
        sample.gpus.as_ref().and_then(|gpus| gpus.first()?.busy_percent),
    ];
    assert!(shares.iter().flatten().all(|share| (0.0..=100.0).contains(share)), "{json}");
    if let Some(memory) = &sample.memory {
        assert!(memory.available.is_none() || memory.available <= memory.total || memory.total.is_none(), "{json}");
        assert!(memory.swap_used.is_none() || memory.swap_used <= memory.swap_total, "{json}");
    }
    for gpu in sample.gpus.iter().flatten() {
        assert!(gpu.memory_used.is_none() || gpu.memory_used <= gpu.memory_total, "{json}");
    }
}

#[test]
fn nonsense_neither_panics_nor_becomes_a_number() {
    let long = "9".repeat(100_000);
    let texts = [
        "",
        "\n\n\n",
        "-1",
        "0",
        "NaN inf",
        "18446744073709551615",
        "99999999999999999999999",
        "\u{fffd}\0\0\u{1f980}",
        "cpu  x y z",
        "cpu  18446744073709551615 18446744073709551615 18446744073709551615 18446744073709551615",
        "cpu  1 2\ncpu\ncpux 1\ncpu0",
        "MemTotal: 18446744073709551615 kB\nMemAvailable: 18446744073709551615 kB\nSwapFree: 9 kB\nSwapTotal: 1 kB",
        "MemTotal kB\nMemTotal:\nMemAvailable: many kB",
        "0::\n0::/\n0::/a/../../b\n0:://",
        "18446744073709551615 1",
        "some avg10=NaN\nfull",
        "some avg10=1e300",
        "usage_usec 18446744073709551615",
        "NAME=\nVERSION_ID='\nmodel name",
        long.as_str(),
    ];
    // Each before itself and before its neighbours, so that counters stand still, jump and go back.
    for (at, before) in texts.iter().enumerate() {
        for step in [0, 1, texts.len() - 1] {
            holds(&changing(before, texts[(at + step) % texts.len()]));
        }
    }
}

#[test]
fn bytes_that_are_no_text_are_survived() {
    let tree = Tree::new();
    tree.file("proc/meminfo", "");
    std::fs::write(tree.path().join("proc/meminfo"), [0xff, 0xfe, b'M', b'\n', 0x80]).unwrap();
    std::fs::create_dir_all(tree.path().join("proc/stat")).unwrap();
    assert_eq!(tree.prober().sample().memory, None);
}

#[test]
fn the_largest_numbers_stay_what_they_are_or_are_not_known() {
    let huge = "18446744073709551615";
    let sample = changing(huge, huge);
    let gpu = &sample.gpus.unwrap()[0];
    assert_eq!(gpu.memory_total, Some(u64::MAX));
    assert_eq!(gpu.memory_used, Some(u64::MAX));
    assert_eq!(gpu.busy_percent, Some(100.0));
    assert_eq!(gpu.celsius, None);
    assert_eq!(sample.heat.unwrap().cpu_celsius, None);
    assert_eq!(sample.power.unwrap().battery_percent, Some(100.0));
}
