use super::*;

const PROPS: &str = include_str!("../../tests/data/llama-props.json");
const MODELS: &str = include_str!("../../tests/data/llama-models.json");
const ROUTER_MODELS: &str = include_str!("../../tests/data/router-models.json");

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

#[test]
fn a_single_model_is_read() {
    let (props, models) = (json(PROPS), json(MODELS));
    assert!(is_props(&props));
    let told = told(&props);
    assert_eq!(told.slots, Some(2));
    let model = single(&list(&models, "data")[0], &told, false).unwrap();
    assert_eq!((model.id.as_str(), model.name.as_str()), ("alpha", "alpha"));
    assert_eq!((model.size, model.context_trained), (Some(779_776), Some(4096)));
    assert_eq!((model.quantization.as_deref(), model.parameter_size.as_deref()), (Some("F16"), Some("389K")));
    assert_eq!(model.capabilities, [Capability::Completion, Capability::Tools]);
    assert_eq!(model.loaded.unwrap().context, Some(1024));
}

#[test]
fn what_the_properties_show() {
    use Capability::*;
    for (change, capabilities, is_loaded) in [
        (json(r#"{"modalities":{"vision":true,"audio":true}}"#), vec![Completion, Tools, Vision, Audio], true),
        (json(r#"{"chat_template_caps":{"supports_tools":false}}"#), vec![Completion], true),
        (json(r#"{"chat_template_caps":null}"#), vec![Completion, Tools], true),
        (json(r#"{"chat_template":null,"chat_template_caps":null}"#), vec![Completion], true),
        (json(r#"{"chat_template":null}"#), vec![Completion, Tools], true),
        (json(r#"{"is_sleeping":true}"#), vec![Completion, Tools], false),
    ] {
        let mut props = json(PROPS);
        for (key, value) in change.as_object().unwrap() {
            props[key] = value.clone();
        }
        let model = single(&list(&json(MODELS), "data")[0], &told(&props), false).unwrap();
        assert_eq!((model.capabilities, model.loaded.is_some()), (capabilities, is_loaded), "{change}");
    }
}

#[test]
fn a_routers_models_are_read() {
    let listing = json(ROUTER_MODELS);
    let entries = list(&listing, "data");
    let models = in_order(entries.iter().filter_map(|entry| of_router(entry, None)));
    let ids: Vec<&str> = models.iter().map(|model| model.id.as_str()).collect();
    assert_eq!(ids, ["alpha", "beta", "minilm"], "what is still being downloaded cannot be asked for");
    let [alpha, beta, minilm] = &models[..] else { panic!("three models") };
    assert_eq!(alpha.loaded.as_ref().unwrap().context, Some(2048));
    assert_eq!(alpha.context_trained, Some(4096));
    assert!(beta.loaded.is_none() && beta.capabilities.is_empty(), "not told is not \"cannot\"");
    assert_eq!(minilm.capabilities, [Capability::Embedding]);
    assert_eq!(argument(&entries[1], &["--parallel", "-np"]), Some("2"));
    assert_eq!(argument(&entries[3], &["--parallel", "-np"]), None);
}

#[test]
fn states_of_a_routers_model() {
    for (status, is_loaded) in
        [("loaded", true), ("loading", false), ("sleeping", true), ("unloaded", false), ("", false)]
    {
        let entry = serde_json::json!({"id": "a", "status": {"value": status}});
        assert_eq!(of_router(&entry, None).unwrap().loaded.is_some(), is_loaded, "{status}");
    }
}

#[test]
fn a_path_becomes_the_name_of_its_file() {
    for (id, name) in [
        ("/home/me/Tiny.Q4.gguf", "Tiny.Q4"),
        (r"C:\models\tiny.gguf", "tiny"),
        ("tiny.gguf", "tiny"),
        ("my-alias", "my-alias"),
        ("org/model:tag", "org/model:tag"),
        ("/.gguf", "/.gguf"),
    ] {
        assert_eq!(file_stem(id), name);
    }
}
