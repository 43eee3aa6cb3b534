//! What all requests share: the settings, the models, the scheduler, the faults and the log.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

use crate::Options;
use crate::answer::Failure;
use crate::faults::{Effects, Faults};
use crate::io::Wire;
use crate::models::{self, Model};
use crate::names::{Name, Place};
use crate::record::{Entry, Log};
use crate::scheduler::{Limits, Scheduler};

/// Most models that create, copy and pull may make; one more is an error.
const MOST_MODELS: usize = 4096;

/// Where cloud models run; a stand-in never reaches it.
const CLOUD: &str = "ollama.com";

/// What a machine without a network says of any name.
pub(crate) const NO_HOST: &str = "on 127.0.0.53:53: no such host";

/// See the module.
pub(crate) struct Fake {
    pub(crate) options: Options,
    pub(crate) scheduler: Arc<Scheduler>,
    pub(crate) faults: Mutex<Faults>,
    pub(crate) log: Log,
    /// Digests of uploaded blobs and their sizes. Bounded by [`MOST_MODELS`].
    pub(crate) blobs: Mutex<BTreeMap<String, u64>>,
    pub(crate) host: String,
    models: RwLock<Vec<Arc<Model>>>,
}

/// One request on its way through the handlers.
#[derive(Clone)]
pub(crate) struct Call {
    pub(crate) fake: Arc<Fake>,
    pub(crate) entry: Arc<Entry>,
    pub(crate) wire: Arc<Wire>,
    pub(crate) effects: Effects,
    pub(crate) began: Instant,
}

impl Fake {
    pub(crate) fn new(options: Options) -> Result<Fake, String> {
        let models = options.models.iter().map(|text| models::entry(text).map(Arc::new));
        let models = models.collect::<Result<Vec<_>, _>>()?;
        let mut faults = Faults::default();
        if !options.faults.iter().cloned().all(|fault| faults.set(fault)) {
            return Err(format!("more than {} faults", crate::faults::MOST));
        }
        let scheduler = Scheduler::new(Limits {
            parallel: options.parallel,
            max_loaded: options.max_loaded,
            max_queue: options.max_queue,
            keep_alive: options.keep_alive,
            ping: options.ping,
            memory: options.memory,
        });
        Ok(Fake {
            options,
            scheduler,
            faults: Mutex::new(faults),
            log: Log::default(),
            blobs: Mutex::default(),
            host: gethostname::gethostname().to_string_lossy().to_ascii_lowercase(),
            models: RwLock::new(models),
        })
    }

    /// The models on disk, newest first; within one second the order in which they came.
    pub(crate) fn models(&self) -> Vec<Arc<Model>> {
        let mut all = self.models.read().unwrap_or_else(PoisonError::into_inner).clone();
        all.sort_by_key(|model| std::cmp::Reverse(model.modified.as_secs()));
        all
    }

    /// The model called `name`.
    pub(crate) fn find(&self, name: &Name) -> Option<Arc<Model>> {
        let key = name.key();
        let models = self.models.read().unwrap_or_else(PoisonError::into_inner);
        models.iter().find(|model| model.name.key() == key).cloned()
    }

    /// Puts `model` on disk, in the place of one with the same name.
    pub(crate) fn keep(&self, model: Model) -> Result<(), Failure> {
        let key = model.name.key();
        let mut models = self.models.write().unwrap_or_else(PoisonError::into_inner);
        models.retain(|other| other.name.key() != key);
        if models.len() >= MOST_MODELS {
            return Err(Failure::new(500, "no space left on device"));
        }
        models.push(Arc::new(model));
        Ok(())
    }

    /// Takes the model called `name` off the disk; a loaded one stays loaded.
    pub(crate) fn forget(&self, name: &Name) -> bool {
        let key = name.key();
        let mut models = self.models.write().unwrap_or_else(PoisonError::into_inner);
        let before = models.len();
        models.retain(|model| model.name.key() != key);
        models.len() < before
    }

    /// Notes a blob; false when it was there.
    pub(crate) fn keep_blob(&self, digest: &str, size: u64) -> bool {
        let mut blobs = self.blobs.lock().unwrap_or_else(PoisonError::into_inner);
        while blobs.len() >= MOST_MODELS {
            blobs.pop_first();
        }
        blobs.insert(digest.to_owned(), size).is_none()
    }

    /// The size of an uploaded or built-in blob.
    pub(crate) fn blob(&self, digest: &str) -> Option<u64> {
        let uploaded = self.blobs.lock().unwrap_or_else(PoisonError::into_inner).get(digest).copied();
        uploaded.or_else(|| {
            let models = self.models.read().unwrap_or_else(PoisonError::into_inner);
            models.iter().find(|model| digest.ends_with(&model.weights)).map(|model| model.size)
        })
    }
}

impl Call {
    /// The model a request names, or the refusal that a handler gives. `required` says whether an empty name is
    /// "required" (chat) or "not found" (generate).
    pub(crate) fn model(&self, asked: &str, required: bool) -> Result<Arc<Model>, Failure> {
        if asked.trim().is_empty() {
            let text = if required { "model is required" } else { "model '' not found" };
            return Err(Failure::new(if required { 400 } else { 404 }, text));
        }
        let name = Name::parse(asked).ok_or_else(|| Failure::new(400, "invalid model name"))?;
        if name.place == Place::Cloud && self.fake.find(&name).is_none() {
            return Err(self.no_cloud());
        }
        let model = self.fake.find(&name).ok_or_else(|| Failure::new(404, format!("model '{asked}' not found")))?;
        if model.remote.is_some() && self.fake.options.cloud_disabled {
            return Err(self.no_cloud());
        }
        Ok(model)
    }

    /// Why a cloud model cannot answer here.
    pub(crate) fn no_cloud(&self) -> Failure {
        if self.fake.options.cloud_disabled {
            let text = "ollama cloud is disabled: remote model is unavailable";
            return Failure { plain: true, ..Failure::new(403, text) };
        }
        let path = self.entry.target.replacen("/experimental", "", 1);
        let now = crate::clock::unix_seconds();
        let text = format!("Post \"https://{CLOUD}:443{path}?ts={now}\": dial tcp: lookup {CLOUD} {NO_HOST}");
        Failure { plain: true, ..Failure::new(502, text) }
    }

    /// How long a load takes for this request.
    pub(crate) fn load_time(&self) -> Duration {
        self.effects.load.unwrap_or(self.fake.options.load)
    }
}
