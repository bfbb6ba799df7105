//! Proofs by their own schedule: `[[verify]]`. They run beside the backups and never hold one up, one at a time. One that is due while
//! another runs waits its turn; one that is due again before its turn has come is skipped and counted.

use std::collections::{BTreeSet, VecDeque};
use std::hash::{BuildHasher, Hasher};
use std::sync::Arc;

use etcd_snapshot::Outcome;
use holdfast_runtime::Registry;
use jiff::Timestamp;
use tokio::task::{JoinError, JoinSet};
use tokio_util::sync::CancellationToken;

use super::notices::Teller;
use super::{Keys, Tally};
use crate::catalog::{self, BackupId};
use crate::config::{Chain, Config, Pick, VerifyConfig};
use crate::notify::news;
use crate::pack::UnpackError;
use crate::pipeline::preflight;
use crate::pipeline::store::{NamedStore, with_causes};
use crate::pipeline::verify::{self, Means};
use crate::progress::Silent;
use crate::proof::{self, Order, Proof, ProofError, Reached};
use crate::session::{Clock, Session};
use crate::source::{self, Found, SourceError};
use crate::store::plugin::PluginSource;
use crate::units::{format_duration, format_size};

/// Room that is left to a backup that may begin meanwhile: so many times the size of the snapshot, the proof's own copy included.
const ROOM: u64 = 3;

/// What is due when, and what runs.
pub(super) struct Verifications {
    all: Vec<Planned>,
    /// Those whose turn has not come, by their place in `all`.
    waiting: VecDeque<usize>,
    running: JoinSet<Ended>,
    /// Which of them runs; none when nothing does, or what does is of a config that is gone.
    under_way: Option<usize>,
}

struct Planned {
    verify: VerifyConfig,
    due: Option<Timestamp>,
}

/// How one scheduled proof came out.
#[derive(Debug, Default)]
pub(super) struct Ended {
    /// Backups whose proof passed.
    passed: u64,
    /// Those whose proof failed, or was inconclusive, or could not be had.
    not_passed: u64,
}

impl Verifications {
    pub(super) fn of(config: &Config, now: Timestamp) -> Self {
        let mut new =
            Self { all: Vec::new(), waiting: VecDeque::new(), running: JoinSet::new(), under_way: None };
        new.plan(config, now);
        new
    }

    /// Goes by another config from now on. What runs goes on to its end.
    pub(super) fn plan(&mut self, config: &Config, now: Timestamp) {
        let planned =
            |verify: &VerifyConfig| Planned { verify: verify.clone(), due: verify.schedule.next_after(now) };
        self.all = config.verify.iter().map(planned).collect();
        self.waiting.clear();
        self.under_way = None;
    }

    /// When the next one is due.
    pub(super) fn next_due(&self) -> Option<Timestamp> {
        self.all.iter().filter_map(|planned| planned.due).min()
    }

    /// Lets those that are due wait for their turn.
    pub(super) fn note_due(&mut self, now: Timestamp, tally: &mut Tally) {
        for (index, planned) in self.all.iter_mut().enumerate() {
            let Some(due) = planned.due.filter(|due| *due <= now) else { continue };
            planned.due = planned.verify.schedule.next_after(now);
            if self.under_way == Some(index) || self.waiting.contains(&index) {
                tally.skipped += 1;
                let pick = planned.verify.pick.name();
                tracing::warn!(%due, pick, skipped = tally.skipped, "skipped: this verification is still under way, or waits its turn");
            } else {
                self.waiting.push_back(index);
            }
        }
    }

    /// Starts the next one, by the config and the plugins as they are now, when none runs.
    pub(super) fn start_next(
        &mut self,
        config: &Config,
        plugins: &Arc<Registry>,
        teller: &Teller,
        clock: Clock,
        stop: &CancellationToken,
    ) {
        if !self.running.is_empty() {
            return;
        }
        let Some(index) = self.waiting.pop_front() else { return };
        let Some(planned) = self.all.get(index) else { return };
        let work = Work {
            verify: planned.verify.clone(),
            config: config.clone(),
            plugins: Arc::clone(plugins),
            teller: teller.clone(),
            clock,
        };
        self.under_way = Some(index);
        let cancel = stop.child_token();
        self.running.spawn(async move { work.run(&cancel).await });
    }

    /// Waits for the one that runs; none when none does.
    pub(super) async fn ended(&mut self) -> Option<Result<Ended, JoinError>> {
        let ended = self.running.join_next().await?;
        self.under_way = None;
        Some(ended)
    }
}

/// Counts what came of one.
pub(super) fn account(ended: Result<Ended, JoinError>, tally: &mut Tally) {
    match ended {
        Ok(Ended { passed, not_passed }) => {
            tally.verified += passed;
            tally.not_verified += not_passed;
        }
        Err(error) => {
            tally.not_verified += 1;
            tracing::error!(%error, "a verification broke off");
        }
    }
}

/// One scheduled proof, with all it needs.
struct Work {
    verify: VerifyConfig,
    config: Config,
    plugins: Arc<Registry>,
    teller: Teller,
    clock: Clock,
}

/// Why a scheduled proof of a backup came to no verdict.
#[derive(Debug, thiserror::Error)]
enum WorkError {
    #[error(transparent)]
    Source(#[from] SourceError),
    #[error(transparent)]
    Proof(#[from] ProofError),
    #[error("the key to read backups with cannot be had")]
    Identities(#[from] UnpackError),
    #[error("no store could be asked for its backups")]
    NoStore,
    #[error(
        "`{scratch}` has {} free; to unpack {} and leave room for a backup takes {}",
        format_size(*.free), format_size(*.size), format_size(.size.saturating_mul(ROOM))
    )]
    Room { scratch: String, free: u64, size: u64 },
}

impl WorkError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::Source(error) | Self::Proof(ProofError::Source(error)) => error.hint(),
            Self::Proof(ProofError::Inspect(error)) => error.hint(),
            Self::Identities(error) => error.hint(),
            Self::Room { .. } => {
                Some("free some space, or set `scratch` in [backup] to a larger disk".to_owned())
            }
            Self::NoStore | Self::Proof(ProofError::Stopped) => None,
        }
    }
}

impl Work {
    async fn run(&self, cancel: &CancellationToken) -> Ended {
        let pick = self.verify.pick.name();
        tracing::info!(pick, store = self.verify.store, "verifying");
        let mut ended = Ended::default();
        let limit = self.verify.timeout;
        if tokio::time::timeout(limit, self.go_through(&mut ended, cancel)).await.is_err() {
            ended.not_passed += 1;
            let limit = format_duration(limit);
            tracing::error!(pick, limit, "not verified: it did not end within its `timeout`");
            let why = format!("the verification of `{pick}` did not end within its `timeout`, {limit}");
            self.tell_of_none(None, &why, None);
        }
        ended
    }

    async fn go_through(&self, ended: &mut Ended, cancel: &CancellationToken) {
        let names = match &self.verify.store {
            Some(name) => vec![name.clone()],
            None => super::store_names(&self.config),
        };
        let plugins: Arc<dyn PluginSource> = Arc::new(Arc::clone(&self.plugins));
        let stores = super::stores_of(&self.config, &names, &plugins);
        let chosen = match self.choose(&stores).await {
            Ok(chosen) => chosen,
            Err(error) => {
                ended.not_passed += 1;
                self.tell(None, &error);
                return;
            }
        };
        for chosen in chosen {
            if cancel.is_cancelled() {
                return;
            }
            let proved = match &chosen {
                Chosen::Found(found) => self.prove(&stores, found.as_ref().clone(), cancel).await,
                Chosen::Id(id) => match source::find(&stores, id).await {
                    Ok(found) => self.prove(&stores, found, cancel).await,
                    // Retention took it meanwhile.
                    Err(SourceError::NoSuchBackup { .. }) => continue,
                    Err(error) => Err(error.into()),
                },
            };
            match proved {
                Ok(true) => ended.passed += 1,
                Ok(false) => ended.not_passed += 1,
                Err(WorkError::Proof(ProofError::Stopped)) => {
                    tracing::info!(backup = %chosen.id(), "the verification under way was stopped");
                }
                Err(error) => {
                    ended.not_passed += 1;
                    self.tell(Some(chosen.id()), &error);
                }
            }
        }
    }

    /// The backups that are meant.
    async fn choose(&self, stores: &[NamedStore]) -> Result<Vec<Chosen>, WorkError> {
        if self.verify.pick == Pick::Latest {
            let found = source::latest(stores).await?;
            for passed_over in &found.passed_over {
                tracing::warn!(backup = %found.entry.manifest.id, passed_over, "a newer backup may be there that cannot be read");
            }
            return Ok(vec![Chosen::Found(Box::new(found))]);
        }
        let (mut ids, mut asked) = (BTreeSet::new(), false);
        for named in stores {
            match catalog::ids(named.store.as_ref()).await {
                Ok(there) => {
                    asked = true;
                    ids.extend(there);
                }
                Err(error) => {
                    tracing::warn!(
                        store = named.name,
                        error = with_causes(&error),
                        "this store cannot be asked"
                    );
                }
            }
        }
        if !asked {
            return Err(WorkError::NoStore);
        }
        let ids: Vec<BackupId> = ids.into_iter().collect();
        if ids.is_empty() {
            let stores = stores.iter().map(|named| named.name.clone()).collect();
            return Err(SourceError::NoBackup { stores }.into());
        }
        Ok(match self.verify.pick {
            Pick::All => ids.into_iter().map(Chosen::Id).collect(),
            Pick::Random => vec![Chosen::Id(ids[any_below(ids.len())].clone())],
            Pick::Oldest | Pick::Latest => ids.into_iter().take(1).map(Chosen::Id).collect(),
        })
    }

    /// Proves one. Says whether it passed.
    async fn prove(
        &self,
        stores: &[NamedStore],
        found: Found,
        cancel: &CancellationToken,
    ) -> Result<bool, WorkError> {
        let scratch = &self.config.backup.scratch;
        let size = found.entry.manifest.plain.size_bytes;
        // What cannot be told does not keep a backup from being proved.
        if let Ok(free) = preflight::free_bytes(scratch)
            && free < size.saturating_mul(ROOM)
        {
            return Err(WorkError::Room { scratch: scratch.display().to_string(), free, size });
        }
        let identities = super::identities(Some(&self.config), &Keys::default())?;
        let order = Order {
            stores,
            identities: &identities,
            chains: &self.chains(),
            means: &Means { plugins: Arc::clone(&self.plugins), boot: self.config.boot() },
            cluster: &self.config.cluster.name,
            scratch,
            progress: &Silent,
        };
        let pass_over = |copy: &Found, error: &SourceError, next: &NamedStore| {
            let (store, backup) = (&copy.named.name, &copy.entry.manifest.id);
            tracing::error!(%backup, store, error = with_causes(error), next = next.name, "this copy cannot be used");
        };
        let mut session = Session::begin(self.clock);
        let proof = proof::prove(&order, found, &mut session, cancel, &pass_over).await?;
        self.teller.tell(|origin| news::of_proof(origin, &proof.record, &proof.drills));
        Ok(tell_of_proof(&proof))
    }

    fn chains(&self) -> Vec<Chain> {
        let names = match &self.verify.chains[..] {
            [] => &self.config.backup.verify,
            _ => &self.verify.chains,
        };
        super::chains(&self.config, names)
    }

    fn tell(&self, backup: Option<&BackupId>, error: &WorkError) {
        let (backup, why) = (backup.map(ToString::to_string), with_causes(error));
        tracing::error!(backup, error = why, hint = error.hint(), "not verified");
        self.tell_of_none(backup.as_deref(), &why, error.hint().as_deref());
    }

    /// Tells that there was no proof, and no drill where it was to be one.
    fn tell_of_none(&self, backup: Option<&str>, why: &str, hint: Option<&str>) {
        let drills = verify::drills(&self.chains(), &self.plugins);
        self.teller.tell(|origin| {
            let hint = || hint.map(str::to_owned);
            let no_drill = |chain: &String| news::no_drill(origin, chain, backup, why, hint());
            let no_proof = news::no_proof(origin, backup, why, hint());
            std::iter::once(no_proof).chain(drills.iter().map(no_drill)).collect()
        });
    }
}

/// A backup that is to be proved.
enum Chosen {
    Found(Box<Found>),
    Id(BackupId),
}

impl Chosen {
    fn id(&self) -> &BackupId {
        match self {
            Self::Found(found) => &found.entry.manifest.id,
            Self::Id(id) => id,
        }
    }
}

/// Any number below this. Which one matters to nobody, only that all come in time.
fn any_below(count: usize) -> usize {
    let chance = std::hash::RandomState::new().build_hasher().finish();
    usize::try_from(chance % (count.max(1) as u64)).unwrap_or_default()
}

fn tell_of_proof(proof: &Proof) -> bool {
    let Proof { found, record, reached, unrecorded, .. } = proof;
    let (backup, store) = (&record.backup, &found.named.name);
    for (store, error) in unrecorded {
        tracing::warn!(%backup, store, error, "the proof could not be recorded");
    }
    let outcome = record.outcome;
    match reached {
        Reached::Content if outcome == Outcome::Passed => {
            tracing::info!(%backup, store, "verified");
            return true;
        }
        Reached::Content => {
            let step = record.steps.iter().find(|step| step.counts && step.outcome != Outcome::Passed);
            let why = step.map(|step| format!("{}: {}", step.step, step.summary));
            tracing::error!(%backup, store, %outcome, why, "not verified");
        }
        Reached::StoredBytes(reason) => {
            tracing::error!(%backup, store, %outcome, %reason, hint = reason.hint(), "not verified: its content could not be proved here");
        }
        Reached::Damage(error) => {
            tracing::error!(%backup, store, %outcome, error = with_causes(error), "not verified: it is damaged");
        }
    }
    false
}
