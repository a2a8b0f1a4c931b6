//! From the command line to a running instance: finds its supervisor, or starts one, and sees it end.

use std::fs::{self, Permissions};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use pactown_runtime::client::Client as Keeper;
use pactown_runtime::protocol::Call;
use pactown_runtime::seal;

use crate::control::Client;
use crate::control::api::{DownRequest, ServiceStatus};
use crate::desired::Desired;
use crate::error::Error;
use crate::instance::{Instance, RUN_ROOT};
use crate::remains;
use crate::root_only;
use crate::state::{self, InstanceRecord};
use crate::systemd::{self, SystemdError};

/// How long a supervisor may take until it answers.
const PATIENCE: Duration = Duration::from_secs(10);

/// What an end in order needs besides the time of its services.
const LEAVE: Duration = Duration::from_secs(60);

/// A running instance.
pub struct Session {
    /// Its control API.
    pub client: Client,
    /// Whether this command started it.
    pub is_new: bool,
    /// The keeper's process; readable once it has ended.
    keeper: OwnedFd,
}

impl Session {
    /// The running instance of `desired`, or a new one, at which its caller may look. One that is just ending is waited
    /// for.
    ///
    /// # Errors
    /// What a crash left cannot be removed, the keeper does not start, the supervisor does not answer.
    pub fn ensure(desired: &Desired) -> Result<Self, Error> {
        let instance = &desired.instance;
        let directory = instance.run_dir();
        let end = Instant::now() + PATIENCE;
        loop {
            let is_new = start_unless_alive(desired)?;
            match Self::connect(instance, is_new)? {
                Some(session) if is_ending(instance) => session.wait_for_end(instance)?,
                Some(session) => return Ok(session),
                // It ended between the two looks.
                None if !remains::is_alive(&directory) => {}
                // And another command has begun the next one, which does not listen yet. Nobody tells when it does.
                None if Instant::now() < end => std::thread::sleep(Duration::from_millis(10)),
                None => return Err(silent(instance)),
            }
        }
    }

    /// The running instance; `None` when there is none.
    ///
    /// # Errors
    /// It is there and does not answer.
    pub fn find(instance: &Instance) -> Result<Option<Self>, Error> {
        if !remains::is_alive(&instance.run_dir()) {
            return Ok(None);
        }
        Self::connect(instance, false)
    }

    fn connect(instance: &Instance, is_new: bool) -> Result<Option<Self>, Error> {
        let Ok(keeper) = Keeper::connect(&instance.keeper_socket()) else {
            return Ok(None);
        };
        let Some(keeper) = process(&keeper).map_err(|source| internal("watch the keeper", source))? else {
            return Ok(None);
        };
        if !appears(&instance.control_socket(), PATIENCE) {
            return Ok(None);
        }
        Ok(Some(Self {
            client: Client::new(&instance.control_socket()),
            is_new,
            keeper,
        }))
    }

    /// Waits until the keeper, and with it everything of the instance, has ended; what still lives after a while
    /// is ended.
    ///
    /// # Errors
    /// Something cannot be removed.
    pub fn wait_for_end(&self, instance: &Instance) -> Result<(), Error> {
        let ended = wait_for(&self.keeper, PATIENCE)
            .map_err(|source| internal("wait for the keeper's end", source))?;
        if ended {
            systemd::end(instance).map_err(|error| refused(&error))
        } else {
            end_by_force(instance).map(drop)
        }
    }

    /// After an `up` that failed as a whole: an instance in which nothing was ever made ends with it.
    ///
    /// # Errors
    /// Something cannot be removed.
    pub async fn leave_nothing(&self, instance: &Instance) -> Result<(), Error> {
        let rows = self.client.get_json::<Vec<ServiceStatus>>("/v1/services").await;
        if rows.is_ok_and(|rows| !rows.is_empty()) {
            return Ok(());
        }
        if let Ok(mut stream) = self.client.post_stream("/v1/down", &DownRequest::default()).await {
            while let Ok(Some(_)) = stream.next().await {}
        }
        self.wait_for_end(instance)
    }
}

/// Waits until the supervisor of an instance that is being started listens; whether it does, or refuses this user.
pub fn is_answering(instance: &Instance) -> bool {
    appears(&instance.control_socket(), PATIENCE)
}

/// Ends an instance whose supervisor does not answer, then removes what it leaves. Whether there was anything.
///
/// # Errors
/// Something cannot be removed.
pub fn end_by_force(instance: &Instance) -> Result<bool, Error> {
    end_keeper(instance)?;
    let existed = fs::exists(instance.run_dir()).unwrap_or(true);
    // On a thread of its own: callers may be inside an event loop, and netlink brings another.
    let removed = std::thread::scope(|scope| scope.spawn(|| remains::remove_dead(instance)).join());
    let removed = removed.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    removed.map_err(|error| Error::Environment {
        message: crate::error::chain(&error),
        hint: Some("try again; `pactown doctor --leaks` lists what is left".to_owned()),
    })?;
    systemd::end(instance).map_err(|error| refused(&error))?;
    Ok(existed)
}

/// Ends the keeper, and with it every process of the instance; one that does not answer is killed.
fn end_keeper(instance: &Instance) -> Result<(), Error> {
    let Ok(keeper) = Keeper::connect(&instance.keeper_socket()) else {
        return Ok(());
    };
    let Some(process) = process(&keeper).map_err(|source| internal("watch the keeper", source))? else {
        return Ok(());
    };
    let _ = keeper.send(Call::Shutdown, &[]);
    let wait =
        || wait_for(&process, PATIENCE).map_err(|source| internal("wait for the keeper's end", source));
    if !wait()? {
        let _ = rustix::process::pidfd_send_signal(&process, rustix::process::Signal::KILL);
        wait()?;
    }
    Ok(())
}

/// Starts keeper and supervisor unless they live; whether it did.
fn start_unless_alive(desired: &Desired) -> Result<bool, Error> {
    let instance = &desired.instance;
    let directory = instance.run_dir();
    root_only::check()?;
    make_directory(Path::new(RUN_ROOT))?;
    // Held until the keeper listens: of several commands one starts it.
    let _lock = state::lock().map_err(|error| internal("lock the machine's instances", error))?;
    if remains::is_alive(&directory) {
        return Ok(false);
    }
    remains::sweep_scratch().map_err(|error| internal("remove what earlier runs left", error))?;
    if directory.exists() {
        drop(_lock);
        end_by_force(instance)?;
        return start_unless_alive(desired);
    }
    make_directory(&directory)?;
    let supervisor = [
        "__supervisor".into(),
        directory.clone().into_os_string(),
        desired.caller.uid.to_string().into(),
    ];
    let arguments: Vec<&std::ffi::OsStr> = supervisor.iter().map(std::ffi::OsString::as_os_str).collect();
    let mut refusal = None;
    let place = |keeper| match place(desired, keeper) {
        Ok(()) => Ok(()),
        Err(error) => {
            refusal = Some(refused(&error));
            Err(io::Error::other("it has no place"))
        }
    };
    match seal::spawn_keeper(&directory, &arguments, place) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        Err(source) => {
            let _ = fs::remove_dir_all(&directory);
            Err(refusal.unwrap_or_else(|| internal("start the keeper", source)))
        }
    }
}

/// Where systemd is pid 1, the keeper lives in a scope: what a session leaves behind is ended with it.
fn place(desired: &Desired, keeper: u32) -> Result<(), SystemdError> {
    if !systemd::is_init() {
        return Ok(());
    }
    let services = desired.ecosystem.services.values();
    // One after another at the worst; and what the supervisor needs for the rest.
    let patience = services.map(|service| service.stop_grace).sum::<Duration>() + LEAVE;
    systemd::adopt(&desired.instance, keeper, patience)
}

fn refused(error: &SystemdError) -> Error {
    Error::Environment {
        message: crate::error::chain(error),
        hint: Some("`systemctl status` and `pactown doctor` say whether systemd answers".to_owned()),
    }
}

/// Others may pass through, to the one socket that is theirs, and see nothing.
fn make_directory(path: &Path) -> Result<(), Error> {
    fs::create_dir_all(path)
        .and_then(|()| fs::set_permissions(path, Permissions::from_mode(0o711)))
        .map_err(|source| Error::Environment {
            message: format!("cannot make `{}`: {source}", path.display()),
            hint: Some("run the command as root".to_owned()),
        })
}

fn is_ending(instance: &Instance) -> bool {
    match state::read::<InstanceRecord>(&instance.record()) {
        Ok(Some(record)) => record.ending,
        _ => false,
    }
}

/// The keeper's process; `None` when it has just ended.
fn process(keeper: &Keeper) -> io::Result<Option<OwnedFd>> {
    let pid = rustix::process::Pid::from_raw(keeper.keeper_pid()?).ok_or(io::ErrorKind::NotFound)?;
    let process = match rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()) {
        Ok(process) => process,
        Err(rustix::io::Errno::SRCH) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    // Its number may have gone to another process before the descriptor was made: not if it lives still.
    if !keeper.is_gone()? {
        return Ok(Some(process));
    }
    // Its socket may be closed before its lock: whoever looks next must not take it for one that lives.
    wait_for(&process, PATIENCE)?;
    Ok(None)
}

/// Whether the process ended within `patience`.
fn wait_for(process: &OwnedFd, patience: Duration) -> io::Result<bool> {
    let end = Instant::now() + patience;
    let mut fds = [PollFd::new(process.as_fd(), PollFlags::POLLIN)];
    loop {
        let left = end.saturating_duration_since(Instant::now());
        match poll(&mut fds, PollTimeout::try_from(left).unwrap_or(PollTimeout::ZERO)) {
            Err(nix::errno::Errno::EINTR) => {}
            Err(errno) => return Err(errno.into()),
            Ok(ready) => return Ok(ready > 0),
        }
    }
}

/// Waits until somebody listens on `socket`, at most `patience`; not at all when nobody will, which a mark beside it says.
fn appears(socket: &Path, patience: Duration) -> bool {
    let hopeless = || socket.with_file_name("damage").exists();
    let answers = || match std::os::unix::net::UnixStream::connect(socket) {
        Ok(_) => true,
        Err(error) => error.kind() == io::ErrorKind::PermissionDenied,
    };
    let end = Instant::now() + patience;
    let Ok(watch) = Inotify::init(InitFlags::IN_CLOEXEC) else {
        return answers();
    };
    let directory = socket.parent().unwrap_or(Path::new("/"));
    // Watched before the first look: what appears in between is not missed.
    let watched = watch.add_watch(
        directory,
        AddWatchFlags::IN_MOVED_TO | AddWatchFlags::IN_DELETE_SELF,
    );
    while !answers() {
        let left = end.saturating_duration_since(Instant::now());
        let mut fds = [PollFd::new(watch.as_fd(), PollFlags::POLLIN)];
        let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::ZERO);
        if hopeless() || watched.is_err() || left.is_zero() || !matches!(poll(&mut fds, timeout), Ok(1)) {
            return answers();
        }
        let _ = watch.read_events();
        if !directory.exists() {
            return false;
        }
    }
    true
}

/// The error when the keeper lives and nobody answers for it.
pub(crate) fn silent(instance: &Instance) -> Error {
    if let Some(damage) = state::damage(instance) {
        return Error::Environment {
            message: format!("nobody watches '{}': {damage}", instance.name),
            hint: Some(
                "its services go on; `pactown down` ends them, and `pactown up` starts them anew".to_owned(),
            ),
        };
    }
    Error::Environment {
        message: format!("the supervisor of '{}' does not answer", instance.name),
        hint: Some(format!(
            "`pactown down` ends it; its messages are in `{}`",
            instance.run_dir().join("keeper.log").display()
        )),
    }
}

fn internal(step: &str, source: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::Internal {
        message: format!("cannot {step}"),
        source: Some(Box::new(source)),
    }
}
