//! The last steps before `execve`: limits, identity, capabilities, filter.

use super::{ProcessSpec, User};
use linux::{Context, Result, capability};
use rustix::fs::Mode;
use rustix::process::{Gid, Uid};
use std::convert::Infallible;
use std::path::PathBuf;

/// Becomes the program. Returns only on failure.
pub(super) fn run(process: &ProcessSpec) -> Result<Infallible> {
    super::init::check_command(process)?;
    for limit in &process.rlimits {
        linux::process::limit(limit.resource, limit.soft, limit.hard)?;
    }
    // Before changing user, who may not be allowed to look at it, and again after, who may be the only one.
    let entered = rustix::process::chdir(&process.cwd);
    capability::limit_bounding(process.capabilities.bounding)?;
    if let (Some(filter), false) = (&process.seccomp, process.no_new_privileges) {
        // Without no_new_privs a filter needs a privilege that is about to be given up.
        filter.install()?;
    }
    rustix::thread::set_keep_capabilities(true).context(|| "keep capabilities".to_owned())?;
    become_user(&process.user)?;
    capability::apply(process.capabilities)?;
    rustix::thread::set_keep_capabilities(false).context(|| "settle capabilities".to_owned())?;
    if entered.is_err() {
        rustix::process::chdir(&process.cwd)
            .context(|| format!("change to directory {}", process.cwd.display()))?;
    }
    let program = resolve(process)?;
    rustix::process::umask(Mode::from_raw_mode(0o022));
    linux::process::close_others_on_exec()?;
    linux::process::reset_signals();
    if process.no_new_privileges {
        rustix::thread::set_no_new_privs(true).context(|| "set no_new_privs".to_owned())?;
        if let Some(filter) = &process.seccomp {
            filter.install()?;
        }
    }
    Err(linux::process::exec(&program, &process.args, &process.env))
}

fn resolve(process: &ProcessSpec) -> Result<PathBuf> {
    let name = process.args.first().map_or("", String::as_str);
    linux::process::find_program(name, &process.env, &process.cwd)
}

fn become_user(user: &User) -> Result<()> {
    let groups: Vec<Gid> = user.groups.iter().map(|gid| Gid::from_raw(*gid)).collect();
    rustix::thread::set_thread_groups(&groups).context(|| "set supplementary groups".to_owned())?;
    let gid = Gid::from_raw(user.gid);
    rustix::thread::set_thread_res_gid(gid, gid, gid).context(|| format!("become group {}", user.gid))?;
    let uid = Uid::from_raw(user.uid);
    rustix::thread::set_thread_res_uid(uid, uid, uid).context(|| format!("become user {}", user.uid))
}
