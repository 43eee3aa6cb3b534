//! What a machine keeps of its fleet in the data directory: who it is, the fleet's secret, the list of members, and
//! what it must remember from start to start.
//!
//! Nothing that is damaged is ever written over: the machine works alone then, and says what to do.

use std::fs;
use std::path::{Path, PathBuf};

use mesh::roster::Roster;
use mesh::{FileError, Identity, NodeKey, Secrets};

use super::memory::Memory;
use super::{known, names};
use crate::files;

const ROSTER: &str = "roster.json";
const IDENTITY: &str = "identity.key";

/// All of it.
pub(crate) struct Papers {
    dir: PathBuf,
    /// Who this machine is; `None`: the file is damaged, or may be read by others.
    pub(crate) identity: Option<Identity>,
    /// The fleet that it belongs to, alone or with others.
    pub(crate) fleet: Option<Membership>,
    /// What else is remembered.
    pub(crate) memory: Memory,
    /// What was wrong with the files.
    pub(crate) faults: Vec<String>,
    /// Whether files of a fleet are there that cannot be used: they are only replaced when the owner says so.
    pub(crate) is_damaged: bool,
}

/// A fleet as this machine holds it.
#[derive(Clone)]
pub(crate) struct Membership {
    pub(crate) secrets: Secrets,
    pub(crate) roster: Roster,
}

impl Papers {
    /// Reads everything in `dir`, which exists. `unix_s` stands in for the number of starts where that is lost.
    pub(crate) fn open(dir: &Path, unix_s: u64) -> Papers {
        let mut faults = Vec::new();
        let identity = Identity::open(dir).map_err(|error| faults.push(error.to_string())).ok();
        let (memory, fault) = Memory::open(dir, unix_s);
        faults.extend(fault);
        let before = faults.len();
        let fleet = identity.as_ref().and_then(|identity| fleet_in(dir, identity.key(), &mut faults));
        let is_damaged = identity.is_none() || faults.len() > before;
        Papers { dir: dir.to_owned(), identity, fleet, memory, faults, is_damaged }
    }

    /// What the fleet calls this machine, where somebody named it.
    pub(crate) fn name(&self) -> Option<String> {
        names::given(&self.memory.settings, known::id(self.identity.as_ref()?.key()))
    }

    /// The fleet, if it has other members.
    pub(crate) fn company(&self) -> Option<&Membership> {
        self.fleet.as_ref().filter(|fleet| fleet.roster.members().nth(1).is_some())
    }

    /// Keeps `fleet` instead of what was there. The list first: without the secret it opens no door.
    pub(crate) fn join(&mut self, fleet: Membership) -> Result<(), String> {
        store_fleet(&self.dir, &fleet)?;
        self.fleet = Some(fleet);
        self.is_damaged = false;
        self.faults.clear();
        Ok(())
    }

    /// Keeps a changed list of members.
    pub(crate) fn store_roster(&self) -> Result<(), String> {
        let Some(fleet) = &self.fleet else { return Ok(()) };
        store_roster(&self.dir, &fleet.roster)
    }

    /// Forgets the fleet, and makes a new identity: the old one was revoked, which lasts for ever. An identity that is
    /// damaged is put aside.
    pub(crate) fn forget(&mut self) -> Result<(), String> {
        Secrets::remove(&self.dir).map_err(|error| error.to_string())?;
        remove(&self.dir.join(ROSTER))?;
        let identity = self.dir.join(IDENTITY);
        if self.identity.is_some() {
            remove(&identity)?;
        } else {
            set_aside(&identity)?;
        }
        self.fleet = None;
        let Memory { incarnation, share, .. } = std::mem::take(&mut self.memory);
        self.memory = Memory { incarnation, share, ..Memory::default() };
        self.identity = Some(Identity::open(&self.dir).map_err(|error| error.to_string())?);
        self.is_damaged = false;
        self.faults.clear();
        self.memory.store(&self.dir)
    }

    /// Writes `node.json`. Blocks.
    pub(crate) fn store_memory(&self) -> Result<(), String> {
        self.memory.store(&self.dir)
    }

    /// Writes `node.json` as it should be now. Blocks.
    pub(crate) fn memory_writer(&self) -> impl FnOnce() -> Result<(), String> + Send + 'static {
        let (memory, dir) = (self.memory.clone(), self.dir.clone());
        move || memory.store(&dir)
    }
}

/// Writes the secret and the list of a fleet, so that they are found after a crash at any moment.
pub(crate) fn store_fleet(dir: &Path, fleet: &Membership) -> Result<(), String> {
    store_roster(dir, &fleet.roster)?;
    fleet.secrets.store(dir).map_err(|error| error.to_string())
}

fn store_roster(dir: &Path, roster: &Roster) -> Result<(), String> {
    files::replace(&dir.join(ROSTER), &roster.to_json()).map_err(|error| format!("{error:#}"))
}

/// The fleet whose files lie in `dir`; none where there are none, or they cannot be used.
fn fleet_in(dir: &Path, me: NodeKey, faults: &mut Vec<String>) -> Option<Membership> {
    let repair = "this machine works alone: restore the file, or leave the fleet here (`herd leave`) and pair again";
    let secrets = match Secrets::load(dir) {
        Ok(secrets) => secrets,
        Err(error @ FileError::Io { .. }) => {
            faults.push(format!("{error}; {repair}"));
            return None;
        }
        Err(error) => {
            faults.push(error.to_string());
            return None;
        }
    };
    let path = dir.join(ROSTER);
    let text = match fs::read_to_string(&path) {
        Ok(text) => Some(text),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
        Err(error) => {
            faults.push(format!("{}: {error}; {repair}", path.display()));
            return None;
        }
    };
    let (secrets, text) = match (secrets, text) {
        (Some(secrets), Some(text)) => (secrets, text),
        (Some(_), None) => {
            faults.push(format!("{} is missing, and so nobody is known; {repair}", path.display()));
            return None;
        }
        // Left over from a moment between two writes: a list without a secret opens nothing.
        (None, _) => return None,
    };
    let roster = match Roster::from_json(&text) {
        Ok(roster) => roster,
        Err(error) => {
            faults.push(format!("{}: {error}; {repair}", path.display()));
            return None;
        }
    };
    if roster.member(me).is_none() {
        faults.push(format!("this machine's key is not among those of {}; {repair}", path.display()));
        return None;
    }
    Some(Membership { secrets, roster })
}

/// Renames a damaged file, so that nothing of it is lost; tells its new name.
pub(super) fn set_aside(path: &Path) -> Result<String, String> {
    let mut aside = path.as_os_str().to_owned();
    aside.push(".damaged");
    match fs::rename(path, &aside) {
        Ok(()) => Ok(Path::new(&aside).display().to_string()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Path::new(&aside).display().to_string()),
        Err(error) => Err(error.to_string()),
    }
}

fn remove(path: &Path) -> Result<(), String> {
    match fs::remove_file(path) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(format!("{}: {error}", path.display())),
    }
}

#[cfg(test)]
mod tests {
    use proto::wire::Setting;
    use proto::{Epoch, NodeId};

    use super::*;

    fn fleet_of(identity: &Identity) -> Membership {
        let roster = Roster::found(identity, "studio", [7; 16]).unwrap();
        Membership { secrets: mesh::FleetSecret::from([3; 32]).into(), roster }
    }

    fn written(dir: &Path, name: &str) -> String {
        fs::read_to_string(dir.join(name)).unwrap()
    }

    #[test]
    fn what_was_stored_is_found_and_each_start_counts() {
        let dir = tempfile::tempdir().unwrap();
        let mut papers = Papers::open(dir.path(), 1_700_000_000);
        assert_eq!((papers.memory.incarnation, papers.fleet.is_none()), (1_700_000_000, true));
        let identity = papers.identity.clone().unwrap();
        papers.join(fleet_of(&identity)).unwrap();
        let setting = Setting {
            key: "name.x".to_owned(),
            value: Some("den".to_owned()),
            epoch: Epoch::new(4),
            counter: 2,
            author: NodeId::new([9; 32]),
        };
        papers.memory.settings.insert(setting.key.clone(), setting);
        papers.memory.addresses.insert(identity.key(), vec!["10.0.0.5:11441".parse().unwrap()]);
        papers.memory.epoch = Epoch::new(12);
        papers.store_memory().unwrap();
        let again = Papers::open(dir.path(), 5);
        assert_eq!(again.memory, Memory { incarnation: 1_700_000_001, ..papers.memory });
        assert_eq!(again.fleet.unwrap().roster, papers.fleet.unwrap().roster);
        assert_eq!((again.faults, again.is_damaged), (Vec::<String>::new(), false));
    }

    #[test]
    fn damage_is_told_and_nothing_is_written_over() {
        for (name, text) in [(ROSTER, "{"), (ROSTER, "{}"), ("fleet.secret", "short"), (IDENTITY, "half")] {
            let dir = tempfile::tempdir().unwrap();
            let mut papers = Papers::open(dir.path(), 5);
            papers.join(fleet_of(&papers.identity.clone().unwrap())).unwrap();
            fs::write(dir.path().join(name), text).unwrap();
            let papers = Papers::open(dir.path(), 5);
            assert!(
                papers.is_damaged && papers.fleet.is_none() && papers.faults.len() == 1,
                "{name}: {:?}",
                papers.faults
            );
            assert_eq!(written(dir.path(), name), text, "{name}");
        }
    }

    #[test]
    fn a_missing_list_is_told_and_a_missing_secret_is_no_fleet() {
        let dir = tempfile::tempdir().unwrap();
        let mut papers = Papers::open(dir.path(), 5);
        papers.join(fleet_of(&papers.identity.clone().unwrap())).unwrap();
        let roster = written(dir.path(), ROSTER);
        fs::remove_file(dir.path().join(ROSTER)).unwrap();
        assert!(Papers::open(dir.path(), 5).faults[0].contains("is missing"));
        fs::write(dir.path().join(ROSTER), roster).unwrap();
        Secrets::remove(dir.path()).unwrap();
        let papers = Papers::open(dir.path(), 5);
        assert!(papers.fleet.is_none() && papers.faults.is_empty());
    }

    #[test]
    fn a_damaged_memory_begins_anew_above_all_earlier_starts() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("node.json"), "{\"incarnation\": 7, \"settings\": [{}]}").unwrap();
        let papers = Papers::open(dir.path(), 1_700_000_000);
        assert_eq!(papers.memory.incarnation, 1_700_000_000);
        assert!(papers.faults[0].contains("node.json.damaged") && !papers.is_damaged, "{:?}", papers.faults);
        assert!(written(dir.path(), "node.json.damaged").contains('7'));
    }

    #[test]
    fn whoever_leaves_has_a_new_key_and_no_secret() {
        let dir = tempfile::tempdir().unwrap();
        let mut papers = Papers::open(dir.path(), 5);
        let old = papers.identity.clone().unwrap().key();
        papers.join(fleet_of(&papers.identity.clone().unwrap())).unwrap();
        papers.forget().unwrap();
        let again = Papers::open(dir.path(), 5);
        assert!(again.fleet.is_none() && again.faults.is_empty());
        assert_ne!(again.identity.unwrap().key(), old);
        assert!(!dir.path().join("fleet.secret").exists() && !dir.path().join(ROSTER).exists());
    }
}
