use super::*;

fn read(
    flags: &[(&str, &str)],
    vars: &[(&str, &str)],
    file: Option<&str>,
) -> Result<(Settings, Vec<String>), BadSetting> {
    let home = [("HOME", "/home/ada"), ("FLEET_NODE_ID", "mac-studio")];
    let flag = |name: &str| flags.iter().find(|(flag, _)| *flag == name).map(|(_, value)| (*value).to_owned());
    let vars = home.iter().chain(vars).map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    Settings::read(flag, vars, file)
}

#[test]
fn nothing_set_means_the_documented_defaults() {
    let (settings, warnings) = read(&[], &[], None).unwrap();
    assert_eq!(warnings, Vec::<String>::new());
    assert_eq!(settings.host, Host::Loopback);
    assert_eq!(settings.port, 11435);
    assert_eq!(settings.data_dir, PathBuf::from("/home/ada/.fleet-manager"));
    assert_eq!((settings.ollama.as_deref(), settings.backends.len()), (None, 0));
    assert_eq!(settings.queue_size.get(), 1024);
    assert_eq!(settings.queue_wait, Duration::from_secs(30));
    assert_eq!((settings.max_retries, settings.history_mb), (2, 200));
    assert_eq!((settings.mesh_port, settings.mdns, settings.peers.len()), (11441, true, 0));
    assert_eq!(settings.log_level, "info");
    assert!(settings.local_discovery && !settings.cloud_models && !settings.never_lead && settings.keep_awake);
    let named = settings.table().into_iter().find(|row| row.name == "FLEET_NODE_ID").unwrap();
    assert_eq!((named.value.as_str(), named.source.as_str()), ("mac-studio", "environment"));
}

#[test]
fn flags_beat_environment_beats_file_beats_default() {
    let file = r#"{"FLEET_PORT": 4000}"#;
    for (flags, vars, file, port, source) in [
        (&[("FLEET_PORT", "2000")][..], &[("FLEET_PORT", "3000")][..], Some(file), 2000, "flag"),
        (&[], &[("FLEET_PORT", "3000")], Some(file), 3000, "environment"),
        (&[], &[("FLEET_PORT", "")], Some(file), 4000, "settings.json"),
        (&[], &[], Some(file), 4000, "settings.json"),
        (&[], &[], None, 11435, "default"),
    ] {
        let (settings, _) = read(flags, vars, file).unwrap();
        let row = settings.table().into_iter().find(|row| row.name == "FLEET_PORT").unwrap();
        assert_eq!(row.default.as_deref(), Some("11435"));
        assert_eq!((settings.port, row.value, row.source.as_str()), (port, port.to_string(), source));
    }
}

#[test]
fn a_bad_value_is_named_with_what_was_expected() {
    for (name, value, said) in [
        ("FLEET_QUEUE_SIZE", "0", "FLEET_QUEUE_SIZE=0 is not a number above 0"),
        ("FLEET_QUEUE_SIZE", "many", "FLEET_QUEUE_SIZE=many is not a number above 0"),
        ("FLEET_PORT", "70000", "FLEET_PORT=70000 is not a port number from 0 to 65535"),
        ("FLEET_MDNS", "maybe", "FLEET_MDNS=maybe is not on or off"),
        ("FLEET_LOG_LEVEL", "loud", "FLEET_LOG_LEVEL=loud is not trace, debug, info, warn, error or off"),
        ("FLEET_MAX_RETRIES", "-1", "FLEET_MAX_RETRIES=-1 is not a number from 0 to 10"),
        ("FLEET_SCORING", "fast", "FLEET_SCORING=fast is not predicted or points"),
        ("FLEET_NODE_ID", "a\u{1b}[31mb", "FLEET_NODE_ID=a[31mb is not a name of 1 to 64 visible characters"),
        (
            "FLEET_QUEUE_WAIT",
            "1 week",
            "FLEET_QUEUE_WAIT=1 week is not a time from 0 to 24 hours, such as 30, 30s, 500ms or 2m",
        ),
    ] {
        assert_eq!(read(&[], &[(name, value)], None).unwrap_err().to_string(), said);
    }
}

#[test]
fn the_door_is_always_on_this_machine_and_elsewhere_where_that_is_said() {
    for (value, host, others) in [
        ("localhost", Host::Loopback, &[][..]),
        ("127.0.0.1", Host::V4, &[]),
        ("::1", Host::V6, &[]),
        ("[::1]", Host::V6, &[]),
        ("127.0.0.1,::1", Host::Loopback, &[]),
        ("127.0.0.1 + ::1", Host::Loopback, &[]),
        ("0.0.0.0", Host::Loopback, &["0.0.0.0"]),
        ("::", Host::Loopback, &["::"]),
        ("192.168.1.5", Host::Loopback, &["192.168.1.5"]),
        ("127.0.0.1,192.168.1.5,[fd00::5],192.168.1.5", Host::V4, &["192.168.1.5", "fd00::5"]),
    ] {
        let (settings, warnings) = read(&[], &[("FLEET_HOST", value)], None).unwrap();
        let addresses: Vec<String> = settings.addresses.iter().map(ToString::to_string).collect();
        assert_eq!((settings.host, addresses), (host, others.iter().map(ToString::to_string).collect()), "{value}");
        assert_eq!(warnings, Vec::<String>::new());
    }
    for value in ["127.0.0.1.nip.io", "mac-studio", "192.168.1.0/24", "224.0.0.1", ","] {
        let refusal = read(&[], &[("FLEET_HOST", value)], None).unwrap_err();
        assert!(matches!(refusal, BadSetting::Value { .. }), "{value}: {refusal}");
    }
    assert!(!read(&[], &[], None).unwrap().0.lan);
    let (settings, _) = read(&[], &[("FLEET_LAN", "on"), ("FLEET_CONTAINERS", "yes")], None).unwrap();
    assert!(settings.lan && settings.containers);
}

#[test]
fn times_are_read_with_and_without_unit() {
    for (value, ms) in [("30", 30_000), ("0", 0), ("1.5s", 1500), ("500ms", 500), ("2m", 120_000), ("1h", 3_600_000)] {
        let (settings, _) = read(&[], &[("FLEET_QUEUE_WAIT", value)], None).unwrap();
        assert_eq!(settings.queue_wait.as_millis(), ms, "{value}");
    }
    for value in ["25h", "-1", "inf", "NaN", "1e9", ".", "1..2", "s"] {
        assert!(read(&[], &[("FLEET_QUEUE_WAIT", value)], None).is_err(), "{value}");
    }
}

#[test]
fn machines_are_named_by_address() {
    let vars = [("FLEET_PEERS", "10.0.0.5, studio.local:2000, [fd00::2]:3000, fd00::3"), ("FLEET_MESH_PORT", "0")];
    let (settings, warnings) = read(&[], &vars, None).unwrap();
    assert_eq!(settings.peers, ["10.0.0.5:11441", "studio.local:2000", "[fd00::2]:3000", "[fd00::3]:11441"]);
    assert_eq!((settings.mesh_port, warnings), (0, Vec::<String>::new()));
    for (url, peer) in [
        ("http://10.0.0.2:11435", "10.0.0.2:11441"),
        ("https://den:9000/herd", "den:11441"),
        ("den", "den:11441"),
        ("den:11435", "den:11441"),
        ("den:2000", "den:2000"),
    ] {
        assert_eq!(read(&[("FLEET_NODE_ROUTER_URL", url)], &[], None).unwrap().0.peers, [peer], "{url}");
    }
    for (name, wrong) in [
        ("FLEET_PEERS", "a b"),
        ("FLEET_PEERS", "den:0"),
        ("FLEET_PEERS", "den:70000"),
        ("FLEET_PEERS", "http://den"),
        ("FLEET_PEERS", "[den]:1"),
        ("FLEET_NODE_ROUTER_URL", "http:///x"),
    ] {
        assert!(read(&[], &[(name, wrong)], None).is_err(), "{wrong}");
    }
}

#[test]
fn unknown_names_are_warned_of_with_the_nearest() {
    for (name, said) in [
        ("FLEET_PROT", "FLEET_PROT is not a setting of Herd; the nearest is FLEET_PORT"),
        ("FLEET_BACKEND", "FLEET_BACKEND is not a setting of Herd; the nearest is FLEET_BACKENDS"),
        ("FLEET_NODE_OLLAMA", "FLEET_NODE_OLLAMA is not a setting of Herd; the nearest is FLEET_NODE_OLLAMA_HOST"),
        (
            "FLEET_SCORE_MODEL_HOT",
            "FLEET_SCORE_MODEL_HOT has no effect: the points are as documented, without a setting",
        ),
        ("FLEET_TELEMETRY", "FLEET_TELEMETRY has no effect: nothing is sent to anybody"),
    ] {
        assert_eq!(read(&[], &[(name, "1")], None).unwrap().1, [said]);
    }
    assert!(read(&[], &[("OTHER_FLEET_PROT", "1")], None).unwrap().1.is_empty());
}

#[test]
fn earlier_names_still_name_the_same_thing() {
    let vars = [("FLEET_NODE_DATA_DIR", "/srv/fleet"), ("FLEET_CONTEXT_PROTECTION", "warn")];
    let (settings, warnings) = read(&[], &vars, None).unwrap();
    assert_eq!(settings.data_dir, PathBuf::from("/srv/fleet"));
    assert_eq!(settings.context_protection, ContextProtection::Warn);
    assert_eq!(warnings, Vec::<String>::new());
}

#[test]
fn the_file_takes_plain_values_and_lists() {
    let file = r#"{"FLEET_BACKENDS": ["http://127.0.0.1:8080?slots=4", ":9931"], "FLEET_CLOUD_MODELS": true,
                   "FLEET_QUEUE_WAIT": 5, "FLEET_COLOUR": "red", "FLEET_DATA_DIR": "/tmp"}"#;
    let (settings, warnings) = read(&[], &[], Some(file)).unwrap();
    assert_eq!(settings.backends, ["http://127.0.0.1:8080?slots=4", ":9931"]);
    assert!(settings.cloud_models);
    assert_eq!(settings.queue_wait, Duration::from_secs(5));
    assert_eq!(
        warnings,
        [
            "FLEET_COLOUR in settings.json is not a setting of Herd; the nearest is FLEET_HOST",
            "FLEET_DATA_DIR in settings.json is not read: it says where that file is",
        ]
    );
    for broken in ["[]", "{", "7", r#"{"FLEET_PORT": {"value": 1}}"#] {
        assert!(read(&[], &[], Some(broken)).is_err(), "{broken}");
    }
    assert!(read(&[], &[], Some("  ")).is_ok());
}

#[test]
fn the_data_directory_needs_a_home_only_when_it_is_not_given() {
    let none = |_: &str| None;
    assert_eq!(Settings::read(none, [], None), Err(BadSetting::NoHome));
    let given = [("FLEET_DATA_DIR".to_owned(), "/data".to_owned())];
    assert_eq!(Settings::read(none, given, None).unwrap().0.data_dir, PathBuf::from("/data"));
    let (tilde, _) = read(&[("FLEET_DATA_DIR", "~/herd")], &[], None).unwrap();
    assert_eq!(tilde.data_dir, PathBuf::from("/home/ada/herd"));
}

#[test]
fn passwords_in_urls_are_not_shown() {
    let (settings, _) = read(&[], &[("FLEET_BACKENDS", "http://ada:secret@gpu:8000/v1,http://b/x@y")], None).unwrap();
    assert_eq!(settings.backends[0], "http://ada:secret@gpu:8000/v1");
    let row = settings.table().into_iter().find(|row| row.name == "FLEET_BACKENDS").unwrap();
    assert_eq!(row.value, "http://***@gpu:8000/v1,http://b/x@y");
}

#[test]
fn the_file_of_the_data_directory_is_read() {
    let dir = std::env::temp_dir().join(format!("herd-settings-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    let flag = |name: &str| (name == "FLEET_DATA_DIR").then(|| dir.to_string_lossy().into_owned());
    assert_eq!(Settings::load(flag, []).unwrap().0.port, 11435);
    std::fs::write(dir.join("settings.json"), r#"{"FLEET_PORT": "1234"}"#).unwrap();
    assert_eq!(Settings::load(flag, []).unwrap().0.port, 1234);
    std::fs::remove_dir_all(&dir).unwrap();
}

#[test]
fn rules_that_pause_can_be_switched_and_tuned() {
    use capacity::{RuleId, Rules};

    let (settings, _) = read(&[], &[], None).unwrap();
    assert_eq!((settings.pauses, settings.not_meetings.len()), (Rules::default(), 0));
    let vars = [
        ("FLEET_PAUSE_MEETINGS", "off"),
        ("FLEET_PAUSE_BUSY", "on"),
        ("FLEET_PAUSE_CAMERA_AFTER", "500ms"),
        ("FLEET_PAUSE_RESUME_AFTER", "2m"),
        ("FLEET_PAUSE_BATTERY_BELOW", "30%"),
        ("FLEET_PAUSE_IGNORE", "Baby Phone, recorder"),
    ];
    let (settings, warnings) = read(&[], &vars, None).unwrap();
    let rules = settings.pauses;
    assert!(!rules.is_on(RuleId::Meetings) && rules.is_on(RuleId::Busy) && rules.is_on(RuleId::Battery));
    assert_eq!((rules.camera_hold, rules.resume_after), (Duration::from_millis(500), Duration::from_secs(120)));
    assert_eq!(
        (rules.battery_below, settings.not_meetings),
        (30, vec!["Baby Phone".to_owned(), "recorder".to_owned()])
    );
    assert_eq!(warnings, Vec::<String>::new());
    let shown = sharing::thresholds(&rules);
    assert!(shown.contains(&(RuleId::Meetings, "FLEET_PAUSE_CAMERA_AFTER", "0.5s".to_owned())), "{shown:?}");
    for (name, value) in
        [("FLEET_PAUSE_BATTERY_BELOW", "101"), ("FLEET_PAUSE_LID", "maybe"), ("FLEET_PAUSE_CAMERA_AFTER", "soon")]
    {
        assert!(read(&[], &[(name, value)], None).is_err(), "{name}");
    }
}
