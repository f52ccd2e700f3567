//! A bucket in memory, for tests: it is as good as any, and fails when it is told to.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::watch;

use super::*;

/// What becomes of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It goes through.
    Done,
    /// It fails for the moment, and nothing is done.
    Fails,
    /// It is done, and its answer is lost.
    AnswerLost,
    /// It is done, its answer is lost, and a try that the caller does not see says that it lost.
    AnswerWrong,
    /// It fails for the moment, and is done so much later.
    Late(Duration),
    /// A list lacks the newest generation.
    Stale,
    /// It is done, and the bytes rot.
    Rots,
}

/// Decides how long a call's way to the bucket takes, and the answer's way back, and what becomes
/// of the call. Told the call and the object.
pub(crate) type Weather = Box<dyn FnMut(&'static str, &str) -> (Duration, Fate) + Send>;

/// One generation; `None` is a deletion, or one that was erased.
type Slot = Option<Stored>;

#[derive(Clone)]
pub(crate) struct Stored {
    pub(crate) data: Vec<u8>,
    pub(crate) rotten: bool,
}

/// See the module.
#[derive(Clone)]
pub(crate) struct Memory {
    bucket: Arc<Mutex<BTreeMap<String, Vec<Slot>>>>,
    weather: Arc<Mutex<Weather>>,
    changes: watch::Sender<()>,
}

impl Memory {
    /// An empty bucket in good weather.
    pub(crate) fn new() -> Self {
        Self::in_weather(Box::new(|_, _| (Duration::ZERO, Fate::Done)))
    }

    /// An empty bucket in such weather.
    pub(crate) fn in_weather(weather: Weather) -> Self {
        let (bucket, weather) = (Arc::default(), Arc::new(Mutex::new(weather)));
        Self { bucket, weather, changes: watch::Sender::new(()) }
    }

    /// From now on the weather is such.
    pub(crate) fn turn(&self, weather: Weather) {
        *self.weather.lock().unwrap() = weather;
    }

    /// The next writes meet these fates, and all other calls go through.
    pub(crate) fn fates_of_writes(&self, fates: Vec<Fate>) {
        let mut fates = fates.into_iter();
        self.turn(Box::new(move |operation, _| {
            let fate = if operation == "write" { fates.next() } else { None };
            (Duration::ZERO, fate.unwrap_or(Fate::Done))
        }));
    }

    /// All that was ever written under `name`, as it was written.
    pub(crate) fn slots(&self, name: &str) -> Vec<Slot> {
        self.lock().get(name).cloned().unwrap_or_default()
    }

    /// Somebody else's write, whatever the weather.
    pub(crate) fn put_aside(&self, name: &str, data: &[u8], expect: Expect) {
        let slot = Some(Stored { data: data.to_owned(), rotten: false });
        self.put(name, slot, expect).expect("what somebody else expects holds");
    }

    /// Damages one generation.
    pub(crate) fn rot(&self, name: &str, generation: Generation) {
        let mut bucket = self.lock();
        let slot = &mut bucket.get_mut(name).unwrap()[generation.0 as usize - 1];
        slot.as_mut().unwrap().rotten = true;
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Vec<Slot>>> {
        self.bucket.lock().unwrap()
    }

    fn failed(&self, operation: &'static str, object: &str, kind: ErrorKind) -> StoreError {
        let (object, bucket) = (object.to_owned(), self.url());
        StoreError { operation, object, bucket, kind, retry_after: None, cause: None }
    }

    async fn fate(&self, operation: &'static str, name: &str) -> (Duration, Fate) {
        let (delay, fate) = self.weather.lock().unwrap()(operation, name);
        pass(delay).await;
        (delay, fate)
    }

    /// Waits as long as the call takes; then it may go through.
    async fn call(&self, operation: &'static str, name: &str) -> Result<()> {
        match self.fate(operation, name).await {
            (_, Fate::Fails) => Err(self.failed(operation, name, ErrorKind::Unavailable)),
            _ => Ok(()),
        }
    }

    fn get(&self, name: &str, generation: Generation) -> std::result::Result<Object, ErrorKind> {
        let index = usize::try_from(generation.0).ok().and_then(|number| number.checked_sub(1));
        let bucket = self.lock();
        let slot = bucket.get(name).zip(index).and_then(|(slots, index)| slots.get(index));
        match slot {
            Some(Some(Stored { rotten: true, .. })) => Err(ErrorKind::Corrupt),
            Some(Some(Stored { data, .. })) => Ok(Object { generation, data: data.clone() }),
            Some(None) | None => Err(ErrorKind::NotFound),
        }
    }

    fn live(&self, name: &str) -> Option<Generation> {
        self.lock().get(name).and_then(|slots| live(slots))
    }

    fn get_live(&self, name: &str) -> std::result::Result<Object, ErrorKind> {
        self.get(name, self.live(name).ok_or(ErrorKind::NotFound)?)
    }

    fn put(
        &self,
        name: &str,
        slot: Slot,
        expect: Expect,
    ) -> std::result::Result<Generation, ErrorKind> {
        let mut bucket = self.lock();
        let slots = bucket.entry(name.to_owned()).or_default();
        let live = live(slots);
        let holds = match expect {
            Expect::Absent => live.is_none() && slot.is_some(),
            Expect::Generation(expected) => live == Some(expected),
            Expect::Any if slot.is_none() && live.is_none() => return Err(ErrorKind::NotFound),
            Expect::Any => true,
        };
        if !holds {
            return Err(ErrorKind::Lost);
        }
        slots.push(slot);
        self.changes.send_replace(());
        Ok(Generation(slots.len() as u64))
    }

    /// Takes the bytes of a generation away. Its slot stays, so that its number is not given again.
    fn remove(&self, name: &str, generation: Generation) -> std::result::Result<(), ErrorKind> {
        let index = usize::try_from(generation.0).ok().and_then(|number| number.checked_sub(1));
        let mut bucket = self.lock();
        let slot = bucket.get_mut(name).zip(index).and_then(|(slots, index)| slots.get_mut(index));
        slot.and_then(Option::take).map(drop).ok_or(ErrorKind::NotFound)
    }

    /// A write, at the moment when it reaches the bucket.
    fn write_now(
        &self,
        name: &str,
        data: &[u8],
        expect: Expect,
        fate: Fate,
    ) -> std::result::Result<Generation, ErrorKind> {
        let slot = Some(Stored { data: data.to_owned(), rotten: fate == Fate::Rots });
        match fate {
            Fate::Done | Fate::Rots | Fate::Stale => self.put(name, slot, expect),
            Fate::Fails => Err(ErrorKind::Unavailable),
            Fate::AnswerLost => {
                self.put(name, slot, expect)?;
                Err(ErrorKind::Unavailable)
            }
            Fate::AnswerWrong => {
                self.put(name, slot, expect)?;
                Err(ErrorKind::Lost)
            }
            Fate::Late(delay) => {
                let (memory, name) = (self.clone(), name.to_owned());
                tokio::spawn(async move {
                    tokio::time::sleep(delay).await;
                    // Nobody hears whether it held by then.
                    let _ = memory.put(&name, slot, expect);
                });
                Err(ErrorKind::Unavailable)
            }
        }
    }
}

async fn pass(delay: Duration) {
    if !delay.is_zero() {
        tokio::time::sleep(delay).await;
    }
}

fn live(slots: &[Slot]) -> Option<Generation> {
    slots.last()?.as_ref().map(|_| Generation(slots.len() as u64))
}

impl fmt::Debug for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Memory")
    }
}

#[async_trait]
impl Store for Memory {
    fn url(&self) -> String {
        "memory:".to_owned()
    }

    async fn read(&self, name: &str) -> Result<Object> {
        self.call("read", name).await?;
        self.get_live(name).map_err(|kind| self.failed("read", name, kind))
    }

    async fn read_if_changed(&self, name: &str, seen: Generation) -> Result<Option<Object>> {
        self.call("read", name).await?;
        if self.live(name) == Some(seen) {
            return Ok(None);
        }
        self.get_live(name).map(Some).map_err(|kind| self.failed("read", name, kind))
    }

    async fn read_generation(&self, name: &str, generation: Generation) -> Result<Object> {
        self.call("read", name).await?;
        self.get(name, generation).map_err(|kind| self.failed("read", name, kind))
    }

    async fn write(&self, name: &str, data: &[u8], expect: Expect) -> Result<Generation> {
        let (delay, fate) = self.fate("write", name).await;
        let written = self.write_now(name, data, expect, fate);
        pass(delay).await;
        written.map_err(|kind| self.failed("write", name, kind))
    }

    async fn stat(&self, name: &str) -> Result<Option<Stat>> {
        self.call("check", name).await?;
        match self.get_live(name) {
            Ok(Object { generation, data }) => {
                Ok(Some(Stat { name: name.to_owned(), generation, size: data.len() as u64 }))
            }
            Err(ErrorKind::NotFound) => Ok(None),
            Err(kind) => Err(self.failed("check", name, kind)),
        }
    }

    async fn list(&self, prefix: &str) -> Result<Vec<Stat>> {
        self.call("list", prefix).await?;
        let bucket = self.lock();
        let live = bucket.iter().filter(|(name, _)| name.starts_with(prefix)).filter_map(
            |(name, slots)| {
                let size = slots.last()?.as_ref()?.data.len() as u64;
                Some(Stat { name: name.clone(), generation: Generation(slots.len() as u64), size })
            },
        );
        Ok(live.collect())
    }

    async fn versions(&self, name: &str) -> Result<Vec<Generation>> {
        let (_, fate) = self.fate("list", name).await;
        if fate == Fate::Fails {
            return Err(self.failed("list", name, ErrorKind::Unavailable));
        }
        let mut slots = self.slots(name);
        if fate == Fate::Stale {
            slots.pop();
        }
        let slots = slots.into_iter().zip(1..);
        Ok(slots.filter_map(|(slot, number)| slot.map(|_| Generation(number))).collect())
    }

    async fn upload(
        &self,
        name: &str,
        from: &Path,
        expect: Expect,
        progress: Progress<'_>,
    ) -> Result<Generation> {
        let failed = |_| self.failed("upload", name, ErrorKind::Unavailable);
        let data = std::fs::read(from).map_err(failed)?;
        progress(data.len() as u64);
        self.write(name, &data, expect).await
    }

    async fn download(&self, name: &str, to: &Path, progress: Progress<'_>) -> Result<Generation> {
        let failed = |_| self.failed("download", name, ErrorKind::Unavailable);
        let Object { generation, data } = self.read(name).await?;
        std::fs::write(to, &data).map_err(failed)?;
        progress(data.len() as u64);
        Ok(generation)
    }

    async fn delete(&self, name: &str, expect: Expect) -> Result<()> {
        self.call("delete", name).await?;
        self.put(name, None, expect).map(drop).map_err(|kind| self.failed("delete", name, kind))
    }

    async fn erase(&self, name: &str, generation: Generation) -> Result<()> {
        self.call("erase", name).await?;
        let erased = match self.live(name) == Some(generation) {
            true => Err(ErrorKind::Lost),
            false => self.remove(name, generation),
        };
        erased.map_err(|kind| self.failed("erase", name, kind))
    }

    fn watch(&self, name: &str) -> Result<Box<dyn Watch>> {
        let mut changes = self.changes.subscribe();
        changes.mark_changed();
        Ok(Box::new(MemoryWatch {
            memory: self.clone(),
            name: name.to_owned(),
            changes,
            last: None,
            last_look: LastLook::default(),
        }))
    }
}

struct MemoryWatch {
    memory: Memory,
    name: String,
    changes: watch::Receiver<()>,
    last: Option<Generation>,
    last_look: LastLook,
}

#[async_trait]
impl Watch for MemoryWatch {
    async fn next(&mut self) -> Result<Object> {
        loop {
            self.changes.changed().await.expect("this watch's store can still write");
            let live = self.memory.live(&self.name);
            if live.is_none() || live == self.last {
                continue;
            }
            self.last = live;
            self.last_look.now();
            return self
                .memory
                .get_live(&self.name)
                .map_err(|kind| self.memory.failed("watch", &self.name, kind));
        }
    }

    fn tell_looks(&mut self, look: LastLook) {
        self.last_look = look;
    }
}

#[tokio::test]
async fn conforms() {
    let scratch = tempfile::tempdir().unwrap();
    conformance::run(Arc::new(Memory::new()), scratch.path()).await;
}
