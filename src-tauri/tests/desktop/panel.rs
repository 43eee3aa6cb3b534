//! The test as panel and notification server: it owns the two names on the private bus, reads the menu and clicks in it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use zbus::message::Header;
use zbus::zvariant::{OwnedObjectPath, OwnedValue, Value};
use zbus::{Connection, connection, interface};

use crate::session::Session;
use crate::until;

const MENU: &str = "com.canonical.dbusmenu";
const ITEM: &str = "org.kde.StatusNotifierItem";
const PROPERTIES: &str = "org.freedesktop.DBus.Properties";

/// What came over the bus.
#[derive(Default)]
struct Came {
    /// Owner and path of each icon.
    items: Vec<(String, String)>,
    /// Title and text of each notification.
    notices: Vec<(String, String)>,
}

struct Watcher(Arc<Mutex<Came>>);

#[interface(name = "org.kde.StatusNotifierWatcher")]
impl Watcher {
    async fn register_status_notifier_item(&self, service: String, #[zbus(header)] header: Header<'_>) {
        let sender = header.sender().map(ToString::to_string).unwrap_or_default();
        let item =
            if service.starts_with('/') { (sender, service) } else { (service, "/StatusNotifierItem".to_owned()) };
        self.0.lock().unwrap().items.push(item);
    }
    async fn register_status_notifier_host(&self, _service: String) {}
    #[zbus(property)]
    fn registered_status_notifier_items(&self) -> Vec<String> {
        Vec::new()
    }
    #[zbus(property)]
    fn is_status_notifier_host_registered(&self) -> bool {
        true
    }
    #[zbus(property)]
    fn protocol_version(&self) -> i32 {
        0
    }
}

struct Notices(Arc<Mutex<Came>>);

#[interface(name = "org.freedesktop.Notifications")]
impl Notices {
    #[allow(clippy::too_many_arguments, reason = "the interface is as it is")]
    async fn notify(
        &self,
        _app: String,
        _replaces: u32,
        _icon: String,
        title: String,
        text: String,
        _actions: Vec<String>,
        _hints: HashMap<String, OwnedValue>,
        _timeout: i32,
    ) -> u32 {
        self.0.lock().unwrap().notices.push((title, text));
        1
    }
    async fn get_capabilities(&self) -> Vec<String> {
        vec!["body".to_owned()]
    }
    async fn get_server_information(&self) -> (String, String, String, String) {
        ("test".into(), "test".into(), "1".into(), "1.2".into())
    }
}

/// A row of the menu as a panel sees it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Row {
    id: i32,
    pub(crate) text: String,
    pub(crate) on: Option<bool>,
    pub(crate) enabled: bool,
}

/// The panel.
pub(crate) struct Panel {
    connection: Connection,
    came: Arc<Mutex<Came>>,
}

impl Panel {
    /// Takes the names on the bus of `session`.
    pub(crate) async fn open(session: &Session) -> Panel {
        let came = Arc::new(Mutex::new(Came::default()));
        let connection = connection::Builder::address(session.bus.as_str())
            .unwrap()
            .name("org.kde.StatusNotifierWatcher")
            .unwrap()
            .name("org.freedesktop.Notifications")
            .unwrap()
            .serve_at("/StatusNotifierWatcher", Watcher(came.clone()))
            .unwrap()
            .serve_at("/org/freedesktop/Notifications", Notices(came.clone()))
            .unwrap()
            .build()
            .await
            .unwrap();
        Panel { connection, came }
    }

    /// The titles of all notifications so far.
    pub(crate) fn notices(&self) -> Vec<String> {
        self.came.lock().unwrap().notices.iter().map(|(title, _)| title.clone()).collect()
    }

    /// Waits for the icon.
    pub(crate) async fn tray(&self) -> Tray<'_> {
        until("the icon", || async { !self.came.lock().unwrap().items.is_empty() }).await;
        let (owner, item) = self.came.lock().unwrap().items.last().cloned().unwrap();
        let menu = property(&self.connection, &owner, &item, "Menu").await;
        let menu = OwnedObjectPath::try_from(menu).unwrap().to_string();
        Tray { panel: self, owner, item, menu }
    }
}

async fn property(connection: &Connection, owner: &str, path: &str, name: &str) -> OwnedValue {
    let answer = connection.call_method(Some(owner), path, Some(PROPERTIES), "Get", &(ITEM, name)).await.unwrap();
    answer.body().deserialize().unwrap()
}

/// The icon with its menu.
pub(crate) struct Tray<'a> {
    panel: &'a Panel,
    owner: String,
    item: String,
    menu: String,
}

type Layout = (u32, (i32, HashMap<String, OwnedValue>, Vec<OwnedValue>));

impl Tray<'_> {
    /// All rows, those of submenus after the row that opens them, separators left out. Empty while the app is ending.
    pub(crate) async fn rows(&self) -> Vec<Row> {
        let what = (0_i32, -1_i32, Vec::<String>::new());
        let (owner, menu) = (Some(self.owner.as_str()), self.menu.as_str());
        let Ok(answer) = self.panel.connection.call_method(owner, menu, Some(MENU), "GetLayout", &what).await else {
            return Vec::new();
        };
        let (_, (_, _, children)): Layout = answer.body().deserialize().unwrap();
        let mut rows = Vec::new();
        for child in &children {
            read(child, &mut rows);
        }
        rows
    }

    pub(crate) async fn row(&self, text: &str) -> Option<Row> {
        self.rows().await.into_iter().find(|row| row.text == text)
    }

    /// Waits for a row that begins with `text`.
    pub(crate) async fn shows(&self, text: &str) {
        until(text, || async { self.rows().await.iter().any(|row| row.text.starts_with(text)) }).await;
    }

    /// Waits until the row `text` is marked, or is not.
    pub(crate) async fn is_marked(&self, text: &str, on: bool) {
        until(&format!("{text}: {on}"), || async { self.row(text).await.is_some_and(|row| row.on == Some(on)) }).await;
    }

    /// Clicks the row `text`, once it is there. A menu that changes just then is looked at again, as a person would.
    pub(crate) async fn click(&self, text: &str) {
        until(text, || async {
            let Some(row) = self.row(text).await.filter(|row| row.enabled) else { return false };
            let click = (row.id, "clicked", Value::from(0_i32), 0_u32);
            let (owner, menu) = (Some(self.owner.as_str()), self.menu.as_str());
            self.panel.connection.call_method(owner, menu, Some(MENU), "Event", &click).await.is_ok()
        })
        .await;
    }

    /// The bytes of the picture that is shown now.
    pub(crate) async fn picture(&self) -> Vec<u8> {
        let name = property(&self.panel.connection, &self.owner, &self.item, "IconName").await;
        std::fs::read(String::try_from(name).unwrap()).unwrap_or_default()
    }
}

fn read(value: &Value<'_>, rows: &mut Vec<Row>) {
    let fields = match value {
        Value::Value(inner) => return read(inner, rows),
        Value::Structure(structure) => structure.fields(),
        _ => return,
    };
    let [Value::I32(id), Value::Dict(facts), Value::Array(children)] = fields else { return };
    let text = facts.get::<&str, &str>(&"label").ok().flatten();
    if let Some(text) = text.filter(|text| !text.is_empty()) {
        let on = facts.get::<&str, i32>(&"toggle-state").ok().flatten();
        let is_check = facts.get::<&str, &str>(&"toggle-type").ok().flatten().is_some_and(|kind| !kind.is_empty());
        let enabled = facts.get::<&str, bool>(&"enabled").ok().flatten().unwrap_or(true);
        // Underlines mark keys; two are one.
        let text = text.replace("__", "\u{0}").replace('_', "").replace('\u{0}', "_");
        rows.push(Row { id: *id, text, on: on.filter(|_| is_check).map(|on| on == 1), enabled });
    }
    for child in children.iter() {
        read(child, rows);
    }
}
