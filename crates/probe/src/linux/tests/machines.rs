//! Whole machines.

use super::Tree;
use crate::{Gpu, GpuVendor};

const GIB: u64 = 1 << 30;

fn laptop() -> Tree {
    let tree = Tree::new();
    tree.file("etc/os-release", "PRETTY_NAME=\"Fedora Linux 43\"\nNAME=\"Fedora Linux\"\nVERSION_ID=43\n")
        .file("proc/sys/kernel/hostname", "kite\n")
        .file("proc/sys/kernel/osrelease", "6.17.4\n")
        .files("sys/class/dmi/id", &[("sys_vendor", "LENOVO\n"), ("product_name", "21CBCTO1WW\n")])
        .file("sys/class/dmi/id/product_version", "ThinkPad X1 Carbon Gen 10\n")
        .file("proc/cpuinfo", "processor\t: 0\nmodel name\t: 12th Gen Intel(R) Core(TM) i7-1260P\n\nprocessor\t: 1\n")
        .file("proc/stat", "cpu  100 0 100 700 100 0 0 0 0 0\ncpu0 50 0 50 350 50 0 0 0 0 0\ncpu1 50 0 50 350 50\nctxt 1\n")
        .file("proc/meminfo", "MemTotal:       16000000 kB\nMemFree: 100 kB\nMemAvailable:    9000000 kB\nSwapTotal: 8000 kB\nSwapFree: 6000 kB\n")
        .file("proc/pressure/memory", "some avg10=1.25 avg60=0.00 avg300=0.00 total=12\nfull avg10=0.00 avg60=0 avg300=0 total=1\n");
    for cpu in 0..2 {
        let directory = format!("sys/devices/system/cpu/cpu{cpu}");
        tree.files(
            &directory,
            &[
                ("topology/thread_siblings_list", "0-1\n"),
                ("topology/physical_package_id", "0\n"),
                ("thermal_throttle/package_throttle_count", "5\n"),
            ],
        );
    }
    tree.files("sys/class/power_supply/AC", &[("type", "Mains\n"), ("online", "0\n")])
        .files(
            "sys/class/power_supply/BAT0",
            &[
                ("type", "Battery\n"),
                ("status", "Discharging\n"),
                ("capacity", "80\n"),
                ("energy_now", "40000000\n"),
                ("energy_full", "50000000\n"),
            ],
        )
        .files(
            "sys/class/power_supply/hidpp_battery_0",
            &[("type", "Battery\n"), ("scope", "Device\n"), ("capacity", "5\n")],
        )
        .files("sys/class/hwmon/hwmon0", &[("name", "nvme\n"), ("temp1_input", "31000\n")])
        .files("sys/class/hwmon/hwmon1", &[("name", "coretemp\n"), ("temp1_input", "61500\n")]);
    tree
}

#[test]
fn a_laptop_on_battery() {
    let tree = laptop();
    let mut prober = tree.prober();
    let host = prober.host();
    assert_eq!(host.name.as_deref(), Some("kite"));
    assert_eq!((host.os.as_deref(), host.os_version.as_deref()), (Some("Fedora Linux"), Some("43")));
    assert_eq!(host.kernel.as_deref(), Some("6.17.4"));
    assert_eq!(host.model.as_deref(), Some("LENOVO ThinkPad X1 Carbon Gen 10"));
    assert_eq!(host.chip.as_deref(), Some("12th Gen Intel(R) Core(TM) i7-1260P"));

    let first = prober.sample();
    let cpu = first.cpu.unwrap();
    assert_eq!((cpu.percent, cpu.logical, cpu.physical, cpu.limit), (None, Some(2), Some(1), None));
    let memory = first.memory.unwrap();
    assert_eq!((memory.total, memory.available), (Some(16_000_000 << 10), Some(9_000_000 << 10)));
    assert_eq!((memory.swap_total, memory.swap_used), (Some(8000 << 10), Some(2000 << 10)));
    assert_eq!((memory.limited, memory.stalled_percent), (false, Some(1.3)));
    let power = first.power.unwrap();
    assert_eq!((power.on_battery, power.battery_percent), (Some(true), Some(80.0)));
    let heat = first.heat.unwrap();
    assert_eq!((heat.throttled, heat.cpu_celsius), (None, Some(61.5)));
    assert_eq!((first.gpus, first.idle), (Some(Vec::new()), None));
}

#[test]
fn load_and_throttling_are_counted_between_samples() {
    let tree = laptop();
    let mut prober = tree.prober();
    prober.sample();
    let unchanged = prober.sample();
    assert_eq!(unchanged.cpu.unwrap().percent, None, "no time has passed");
    assert_eq!(unchanged.heat.unwrap().throttled, Some(false));

    tree.file("proc/stat", "cpu  120 5 105 740 110 5 5 10 0 0\n");
    tree.file("sys/devices/system/cpu/cpu0/thermal_throttle/package_throttle_count", "6\n");
    let later = prober.sample();
    assert_eq!(later.cpu.unwrap().percent, Some(50.0), "50 of 100 ticks were neither idle nor waiting for a disk");
    assert_eq!(later.heat.unwrap().throttled, Some(true));

    tree.file("proc/stat", "cpu  1 1 1 1 1 1 1 1 0 0\n");
    assert_eq!(prober.sample().cpu.unwrap().percent, None, "counters that went back");
}

#[test]
fn two_gpus_of_amd_one_of_them_asleep() {
    let tree = Tree::new();
    tree.files(
        "sys/class/drm/card1/device",
        &[
            ("vendor", "0x1002\n"),
            ("uevent", "DRIVER=amdgpu\nPCI_CLASS=30000\nPCI_SLOT_NAME=0000:0a:00.0\n"),
            ("product_name", "Radeon RX 7900 XTX\n"),
            ("mem_info_vram_total", "25753026560\n"),
            ("mem_info_vram_used", "1073741824\n"),
            ("mem_info_gtt_total", "16000000000\n"),
            ("mem_info_gtt_used", "50000000\n"),
            ("gpu_busy_percent", "37\n"),
            ("power/runtime_status", "active\n"),
            ("hwmon/hwmon3/temp1_input", "48000\n"),
        ],
    );
    tree.files(
        "sys/class/drm/card0/device",
        &[
            ("vendor", "0x1002\n"),
            ("uevent", "PCI_SLOT_NAME=0000:03:00.0\n"),
            ("mem_info_vram_total", "8589934592\n"),
            ("mem_info_vram_used", "123\n"),
            ("gpu_busy_percent", "99\n"),
            ("power/runtime_status", "suspended\n"),
            ("hwmon/hwmon2/temp1_input", "40000\n"),
        ],
    );
    tree.file("sys/class/drm/card0-DP-1/device/vendor", "0x1002\n");
    tree.file("sys/class/drm/card2/device/vendor", "0x8086\n");
    tree.file("sys/class/drm/renderD128/device/vendor", "0x1002\n");
    let asleep = Gpu {
        pci: Some("0000:03:00.0".to_owned()),
        memory_total: Some(8 * GIB),
        asleep: true,
        ..Gpu::of(GpuVendor::Amd)
    };
    let awake = Gpu {
        name: Some("Radeon RX 7900 XTX".to_owned()),
        pci: Some("0000:0a:00.0".to_owned()),
        memory_total: Some(25_753_026_560),
        memory_used: Some(GIB),
        shared_total: Some(16_000_000_000),
        shared_used: Some(50_000_000),
        busy_percent: Some(37.0),
        celsius: Some(48.0),
        ..Gpu::of(GpuVendor::Amd)
    };
    assert_eq!(tree.prober().sample().gpus, Some(vec![asleep, awake]));
}

#[test]
fn a_container_without_sys_knows_little_and_invents_nothing() {
    let tree = Tree::new();
    tree.file("proc/meminfo", "MemTotal: 1000 kB\n").file("proc/stat", "cpu  1 1 1 1\n");
    let sample = tree.prober().sample();
    assert_eq!(sample.memory.unwrap().available, None);
    assert_eq!((sample.gpus, sample.power, sample.heat, sample.idle), (None, None, None, None));
    let nothing = Tree::new().prober().sample();
    assert_eq!((nothing.cpu, nothing.memory), (None, None));
}

#[test]
fn who_is_on_battery() {
    let battery = |status| vec![("BAT0/type", "Battery"), ("BAT0/status", status), ("BAT0/capacity", "50")];
    let with = |more: &[(&'static str, &'static str)], status| [battery(status), more.to_vec()].concat();
    let mains = [("AC/type", "Mains"), ("AC/online", "1")];
    let cut = [("AC/type", "Mains"), ("AC/online", "0")];
    let usb = [("C0/type", "USB"), ("C0/online", "0"), ("C1/type", "USB"), ("C1/online", "1")];
    let ups = [("UPS/type", "UPS"), ("UPS/status", "Discharging"), ("UPS/capacity", "70")];
    for (files, on_battery, percent) in [
        (vec![("AC/type", "Mains"), ("AC/online", "1")], Some(false), None),
        (vec![("AC/type", "Mains"), ("AC/online", "0")], Some(false), None),
        (battery("Discharging"), Some(true), Some(50.0)),
        (battery("Full"), Some(false), Some(50.0)),
        (battery("Unknown"), None, Some(50.0)),
        (with(&mains, "Discharging"), Some(false), Some(50.0)),
        (with(&cut, "Unknown"), Some(true), Some(50.0)),
        (with(&usb, "Charging"), Some(false), Some(50.0)),
        (ups.to_vec(), Some(true), Some(70.0)),
        ([ups.to_vec(), mains.to_vec()].concat(), Some(true), Some(70.0)),
    ] {
        let tree = Tree::new();
        tree.files("sys/class/power_supply", &files);
        let power = tree.prober().sample().power.unwrap();
        assert_eq!((power.on_battery, power.battery_percent), (on_battery, percent), "{files:?}");
    }
    // No supply at all, but a place for them: a desktop.
    let desktop = Tree::new();
    std::fs::create_dir_all(desktop.path().join("sys/class/power_supply")).unwrap();
    assert_eq!(desktop.prober().sample().power.unwrap().on_battery, Some(false));
}

#[test]
fn charge_of_two_batteries_is_weighted_by_what_they_hold() {
    let tree = Tree::new();
    for (name, now, full) in [("BAT0", "10", "100"), ("BAT1", "300", "300")] {
        let directory = format!("sys/class/power_supply/{name}");
        tree.files(&directory, &[("type", "Battery"), ("charge_now", now), ("charge_full", full), ("capacity", "1")]);
    }
    assert_eq!(tree.prober().sample().power.unwrap().battery_percent, Some(77.5));
}

#[test]
fn a_board_without_firmware_tables_names_itself_in_its_device_tree() {
    let tree = Tree::new();
    tree.file("proc/device-tree/model", "Raspberry Pi 5 Model B Rev 1.0\0");
    tree.file("sys/class/thermal/thermal_zone0/type", "cpu-thermal\n");
    tree.file("sys/class/thermal/thermal_zone0/temp", "83200\n");
    tree.file("sys/class/thermal/cooling_device0/type", "cpufreq-cpu0\n");
    tree.file("sys/class/thermal/cooling_device0/cur_state", "2\n");
    let sample = tree.prober().sample();
    assert_eq!(sample.host.model.as_deref(), Some("Raspberry Pi 5 Model B Rev 1.0"));
    let heat = sample.heat.unwrap();
    assert_eq!((heat.throttled, heat.cpu_celsius), (Some(true), Some(83.2)));
}

#[test]
fn makers_who_left_their_fields_blank_have_no_model() {
    for (vendor, product, model) in [
        ("Framework", "Laptop 13", Some("Framework Laptop 13")),
        ("ASUS", "ASUS TUF A15", Some("ASUS TUF A15")),
        ("To Be Filled By O.E.M.", "To Be Filled By O.E.M.", None),
        ("System manufacturer", "System Product Name", None),
        ("", "Default string", None),
    ] {
        let tree = Tree::new();
        tree.files("sys/class/dmi/id", &[("sys_vendor", vendor), ("product_name", product)]);
        assert_eq!(tree.prober().host().model.as_deref(), model, "{vendor} {product}");
    }
}

#[test]
fn a_sample_reads_as_json_with_units_in_its_names() {
    let mut sample = laptop().prober().sample();
    sample.idle = Some(std::time::Duration::from_millis(61_900));
    let json = serde_json::to_value(&sample).unwrap();
    assert_eq!(json["idle_s"], 61);
    assert_eq!(json["memory"]["total"], 16_384_000_000_u64);
    assert_eq!(json["cpu"]["percent"], serde_json::Value::Null);
    assert_eq!(json["host"]["name"], "kite");
    assert_eq!(json["power"]["on_battery"], true);
}
