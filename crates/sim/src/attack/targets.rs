//! Which databases and repositories are attacked, and how.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use lightning_db::{LightningDbConfig, Result};
use lightning_db_storage::vfs::{Keep, MemVfs};

use super::bytes::{self, Effort};
use super::case::{Case, Depth, Expect, Target};
use super::damage::{Damage, Edit};
use super::exchange::{self, CONTINUATION, Files};
use super::layout::{Layout, Role, layouts};
use super::specimen::{self, DATABASE, Moment, REPOSITORY, Story, config};
use super::undetectable::Undetectable;

/// Everything that is attacked.
pub(super) struct Targets {
    /// Killed while it was open.
    pub(super) killed: Arc<Target>,
    /// The same, on a machine that was started again since.
    restarted: Arc<Target>,
    /// Closed.
    closed: Arc<Target>,
    /// With more rows, so that there is a dictionary.
    large: Arc<Target>,
    /// Not encrypted.
    plain: Arc<Target>,
    repository: Arc<Target>,
    plain_repository: Arc<Target>,
    /// Another database with the same key, and its repository.
    pub(super) stranger: Arc<Story>,
}

/// Makes them.
///
/// # Errors
/// Those of the database: none is expected.
pub(super) fn make(seed: u64) -> Result<Targets> {
    let story = Arc::new(Story::tell(seed, &config(true), 30)?);
    let stranger = Arc::new(Story::tell(seed + 1000, &config(true), 30)?);
    let plain = Arc::new(Story::tell(seed + 2000, &config(false), 30)?);
    let large_config = LightningDbConfig { compression_type: 0, ..config(true) };
    let large = Arc::new(Story::tell(seed + 3000, &large_config, 3000)?);
    let restarted = Moment { disk: story.killed.disk.fork(), newest: story.killed.newest };
    restarted.disk.crash(&mut || 0, Keep::Everything);
    let unsynced_from = first_difference(&story);
    Ok(Targets {
        killed: target("killed", &story, &story.killed, DATABASE, None),
        restarted: target("restarted", &story, &restarted, DATABASE, unsynced_from),
        closed: target("closed", &story, &story.closed, DATABASE, None),
        large: target("large", &large, &large.killed, DATABASE, None),
        plain: target("plain", &plain, &plain.killed, DATABASE, None),
        repository: target("repository", &story, &story.killed, REPOSITORY, None),
        plain_repository: target("plain repository", &plain, &plain.killed, REPOSITORY, None),
        stranger,
    })
}

fn target(
    name: &'static str,
    story: &Arc<Story>,
    moment: &Moment,
    root: &str,
    unsynced_from: Option<u64>,
) -> Arc<Target> {
    let is_repository = root == REPOSITORY;
    Arc::new(Target {
        name,
        disk: moment.disk.fork(),
        root: PathBuf::from(root),
        config: story.config.clone(),
        story: Arc::clone(story),
        newest: if is_repository { story.backed_up } else { moment.newest },
        is_repository,
        unsynced_from,
    })
}

/// Where the log went on after it was synced.
fn first_difference(story: &Story) -> Option<u64> {
    let (before, after) =
        (specimen::files(&story.synced_disk, DATABASE), specimen::files(&story.killed.disk, DATABASE));
    let mut differences = after.iter().filter_map(|(path, bytes)| {
        let old = before.get(path)?;
        let at = old.iter().zip(bytes.iter()).position(|(old, new)| old != new)?;
        Some(at as u64 / 16 * 16)
    });
    differences.next()
}

/// All cases.
pub(super) fn cases(targets: &Targets, long: bool) -> Vec<Case> {
    let effort = |stride, closely| Effort {
        all_bits: long,
        stride: if long { 1 } else { stride },
        closely: if long { 1 } else { closely },
        behind: if long { 1 } else { 1021 },
    };
    let mut all = Vec::new();
    let (every, logs) = (
        &[Role::Twin, Role::Pages, Role::Log, Role::OpenLog, Role::Object, Role::Audit, Role::Idle][..],
        &[Role::Log, Role::OpenLog][..],
    );
    for (target, roles, stride, closely) in [
        (&targets.killed, every, 1, 16),
        // What differs from the one before is what is believed of the log.
        (&targets.restarted, logs, 1, 16),
        (&targets.closed, logs, 2, 16),
        (&targets.large, every, 29, 64),
        (&targets.plain, every, 2, 32),
        (&targets.repository, every, 1, 96),
        (&targets.plain_repository, every, 5, 96),
    ] {
        let layouts = layouts(target);
        let chosen: Vec<Layout> =
            layouts.iter().filter(|layout| long || roles.contains(&layout.role)).cloned().collect();
        all.extend(bytes::cases(target, &chosen, effort(stride, closely)));
        // An unencrypted database does not stop who changes it on purpose.
        if target.config.encryption_enabled {
            all.extend(exchanges(targets, target, &layouts));
        }
    }
    all
}

fn exchanges(targets: &Targets, target: &Arc<Target>, layouts: &[Layout]) -> Vec<Case> {
    let mut all = exchange::within(target, layouts);
    let of = |moment: &Moment| exchange::files(&moment.disk, &target.root);
    let story = &target.story;
    all.extend(exchange::foreign(target, layouts, &of(&targets.stranger.killed), "of another database:"));
    all.extend(exchange::foreign(target, layouts, &of(&targets.plain.story.killed), "not encrypted:"));
    if target.is_repository {
        all.extend(set_back(target, layouts, &of(&story.second)));
        return all;
    }
    all.extend(exchange::foreign(target, layouts, &of(&story.elsewhere), CONTINUATION));
    for (when, moment) in [
        ("at first", &story.first),
        ("second", &story.second),
        ("closed", &story.closed),
        ("midway", &story.midway),
    ] {
        if moment.newest < target.newest {
            all.extend(exchange::rolled_back(target, layouts, &of(moment), when, moment.newest));
        }
    }
    all
}

/// A repository with single things as they were before, and as a whole without its newest records.
fn set_back(target: &Arc<Target>, layouts: &[Layout], older: &Files) -> Vec<Case> {
    let changes = exchange::changes_to(layouts, older);
    let case = |note: &str, edits: Vec<Edit>, expect| Case {
        target: Arc::clone(target),
        damage: Damage { kind: "set back", note: note.into(), edits },
        expect,
        // A head that lags is what a backup leaves that died before it wrote it.
        noticed: expect == Expect::Whole && note != "head",
        depth: Depth::Writing,
    };
    let each = changes
        .iter()
        .map(|edit| case(&edit.file().display().to_string(), vec![edit.clone()], Expect::Whole));
    let mut all: Vec<Case> = each.collect();
    let earlier = Expect::Earlier(Undetectable::RepositorySetBack, target.story.second_backed_up);
    let records = |edit: &&Edit| edit.file().starts_with("manifests") || edit.file() == Path::new("head");
    all.push(case("records and head", changes.iter().filter(records).cloned().collect(), earlier));
    all.push(case("everything", changes, earlier));
    all
}

/// The files of a target that hold pages.
pub(super) fn pages(target: &Target) -> Vec<Layout> {
    layouts(target).into_iter().filter(|layout| layout.role == Role::Pages).collect()
}

/// The disk of a target, to be written to.
pub(super) fn disk(target: &Target) -> MemVfs {
    target.disk.fork()
}
