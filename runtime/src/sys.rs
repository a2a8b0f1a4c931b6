//! The system calls that no library wraps safely. The only `unsafe` of this crate; no policy, no allocation.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// Who returns from [`clone3`].
#[derive(Debug)]
pub(crate) enum Cloned {
    /// The new process.
    Child,
    /// The caller: the child's pid, and a descriptor for it unless `CLONE_PARENT` was asked for.
    Parent(i32, Option<OwnedFd>),
}

/// `struct clone_args` of clone3(2), version 2 (88 bytes).
#[repr(C)]
#[derive(Default)]
struct CloneArgs {
    flags: u64,
    pidfd: u64,
    child_tid: u64,
    parent_tid: u64,
    exit_signal: u64,
    stack: u64,
    stack_size: u64,
    tls: u64,
    set_tid: u64,
    set_tid_size: u64,
    cgroup: u64,
}

/// `CLONE_INTO_CGROUP` of linux/sched.h: above the 32 bits that libc's flags have.
const CLONE_INTO_CGROUP: u64 = 1 << 33;

/// Makes a child as fork(2) does, with these `CLONE_NEW*` flags (and `CLONE_PARENT`), in the cgroup v2 directory
/// `group` when there is one, else in the caller's. In a process with
/// one thread the child goes on in ordinary Rust code, which may allocate. In a process with more ([`crate::support`])
/// the child may only make system calls until it ends: another thread could have held a lock, such as the allocator's.
pub(crate) fn clone3(flags: libc::c_int, group: Option<BorrowedFd>) -> io::Result<Cloned> {
    let sibling = flags & libc::CLONE_PARENT != 0;
    let mut pidfd: libc::c_int = -1;
    let mut arguments = CloneArgs {
        flags: u64::from(flags.cast_unsigned()),
        ..CloneArgs::default()
    };
    if let Some(group) = group {
        arguments.flags |= CLONE_INTO_CGROUP;
        arguments.cgroup = u64::from(group.as_raw_fd().cast_unsigned());
    }
    if !sibling {
        // With CLONE_PARENT the kernel takes the exit signal from the caller and refuses one (clone(2)).
        arguments.flags |= u64::from(libc::CLONE_PIDFD.cast_unsigned());
        arguments.pidfd = (&raw mut pidfd) as u64;
        arguments.exit_signal = u64::from(libc::SIGCHLD.cast_unsigned());
    }
    // SAFETY: `arguments` is a valid clone_args of the size given; `pidfd` and `group` live across the call. No memory is
    // shared with the child (neither CLONE_VM nor a stack), so it is fork(2) with namespaces; the callers of this
    // crate run in single-threaded processes (the keeper and its children), so no lock can be held by another thread,
    // or their child only makes system calls and takes none (`userns::create`, `support`).
    let result = unsafe { libc::syscall(libc::SYS_clone3, &raw mut arguments, size_of::<CloneArgs>()) };
    match result {
        -1 => Err(io::Error::last_os_error()),
        0 => Ok(Cloned::Child),
        pid if sibling => Ok(Cloned::Parent(pid_of(pid), None)),
        pid => {
            // SAFETY: the kernel has just made this descriptor for us (CLONE_PIDFD); nobody else owns it.
            let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
            Ok(Cloned::Parent(pid_of(pid), Some(pidfd)))
        }
    }
}

fn pid_of(result: libc::c_long) -> i32 {
    i32::try_from(result).unwrap_or(i32::MAX)
}

/// Gives free memory of the heap back to the kernel (malloc_trim(3)).
pub(crate) fn trim_heap() {
    // SAFETY: takes no pointer; glibc locks its arenas itself, and the callers have one thread.
    #[cfg(target_env = "gnu")]
    unsafe {
        libc::malloc_trim(0);
    }
}

/// Memory that this process shares with the children it makes with [`clone3`]; pages come when they are touched.
#[derive(Debug)]
pub(crate) struct SharedMemory {
    start: std::ptr::NonNull<u8>,
    length: usize,
}

impl SharedMemory {
    /// So many bytes, zeroed.
    pub(crate) fn new(length: usize) -> io::Result<Self> {
        let (protection, flags) = (
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_SHARED | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE,
        );
        // SAFETY: a new mapping where the kernel likes; it replaces none.
        let start = unsafe { libc::mmap(std::ptr::null_mut(), length, protection, flags, -1, 0) };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let start = std::ptr::NonNull::new(start.cast()).ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(Self { start, length })
    }

    /// A part that no other process writes as long as this borrow lives: the processes hand parts to each other by
    /// messages, and touch only what they have.
    pub(crate) fn part(&self, range: std::ops::Range<usize>) -> &[u8] {
        assert!(range.start <= range.end && range.end <= self.length);
        // SAFETY: inside of the mapping, which lives as long as `self`; bytes have no invalid values; nobody writes them
        // meanwhile, as the contract above says.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr().add(range.start), range.len()) }
    }

    /// A part that no other process reads or writes as long as this borrow lives.
    pub(crate) fn part_mut(&mut self, range: std::ops::Range<usize>) -> &mut [u8] {
        assert!(range.start <= range.end && range.end <= self.length);
        // SAFETY: as in `part`, and `&mut self` makes it the only borrow in this process.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr().add(range.start), range.len()) }
    }

    /// Gives the pages of all of it back: it is zeroed (madvise(2), `MADV_REMOVE`).
    pub(crate) fn release(&mut self) {
        // SAFETY: exactly our mapping, and `&mut self` says that nobody has borrowed of it.
        unsafe { libc::madvise(self.start.as_ptr().cast(), self.length, libc::MADV_REMOVE) };
    }
}

impl Drop for SharedMemory {
    fn drop(&mut self) {
        // SAFETY: exactly our mapping, of which nothing is borrowed any more.
        unsafe { libc::munmap(self.start.as_ptr().cast(), self.length) };
    }
}

/// `struct mount_attr` of mount_setattr(2).
#[repr(C)]
#[derive(Default)]
struct MountAttr {
    attr_set: u64,
    attr_clr: u64,
    propagation: u64,
    userns_fd: u64,
}

/// Sets `MOUNT_ATTR_*` flags on the mount `tree` (and below it, when `recursive`), makes it private, and with
/// `idmap` maps its ids through that user namespace (mount_setattr(2)).
pub(crate) fn mount_setattr(
    tree: BorrowedFd,
    set: u64,
    idmap: Option<BorrowedFd>,
    recursive: bool,
) -> io::Result<()> {
    let attributes = MountAttr {
        attr_set: set
            | if idmap.is_some() {
                libc::MOUNT_ATTR_IDMAP
            } else {
                0
            },
        propagation: libc::MS_PRIVATE,
        userns_fd: idmap.map_or(0, |fd| u64::from(fd.as_raw_fd().cast_unsigned())),
        ..MountAttr::default()
    };
    let flags = libc::AT_EMPTY_PATH | if recursive { libc::AT_RECURSIVE } else { 0 };
    // SAFETY: the path is an empty C string, `attributes` a valid mount_attr of the size given; the descriptors are
    // borrowed for the duration of the call.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            tree.as_raw_fd(),
            c"".as_ptr(),
            flags,
            &raw const attributes,
            size_of::<MountAttr>(),
        )
    };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Closes every descriptor from `first` upwards that is not in `keep` (close_range(2)).
/// The caller must not use any `OwnedFd` over the closed ones again.
pub(crate) fn close_all_except(first: i32, keep: &[i32]) {
    let mut keep: Vec<i32> = keep.iter().copied().filter(|fd| *fd >= first).collect();
    keep.sort_unstable();
    let mut from = first;
    for fd in keep {
        if fd > from {
            close_range(from, fd - 1, 0);
        }
        from = fd + 1;
    }
    close_range(from, i32::MAX, 0);
}

/// Marks every descriptor from `first` upwards close-on-exec.
pub(crate) fn cloexec_from(first: i32) {
    close_range(first, i32::MAX, libc::CLOSE_RANGE_CLOEXEC.cast_signed());
}

fn close_range(first: i32, last: i32, flags: i32) {
    // SAFETY: closing descriptors touches no memory; this runs in a fresh child that goes on with the kept ones
    // only, so no owner of a closed descriptor is used again (the child ends by `_exit` or `execve`).
    unsafe { libc::syscall(libc::SYS_close_range, first, last, flags) };
}

/// Loads a filter into the calling thread (seccomp(2), `SECCOMP_SET_MODE_FILTER`).
pub(crate) fn load_filter(program: &[libc::sock_filter]) -> io::Result<()> {
    let length = u16::try_from(program.len()).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
    let program = libc::sock_fprog {
        len: length,
        filter: program.as_ptr().cast_mut(),
    };
    // SAFETY: `program` points to `len` instructions that live across the call; the kernel copies and never writes
    // them.
    let result = unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_SET_MODE_FILTER,
            0,
            &raw const program,
        )
    };
    match result {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// The version of the Landlock interface (landlock_create_ruleset(2)); 0 = there is none.
pub(crate) fn landlock_version() -> u32 {
    const VERSION: libc::c_int = 1;
    // SAFETY: with this flag the kernel takes no pointer and makes nothing.
    let version = unsafe {
        libc::syscall(
            libc::SYS_landlock_create_ruleset,
            std::ptr::null::<u8>(),
            0,
            VERSION,
        )
    };
    u32::try_from(version).unwrap_or(0)
}

/// A new Landlock ruleset: from now on the rights in `handled` need a rule. `scoped` closes kinds of IPC.
pub(crate) fn landlock_create(handled: u64, scoped: u64) -> io::Result<OwnedFd> {
    // `struct landlock_ruleset_attr`: files, network, scopes. A kernel that knows less takes zeros behind what it knows.
    let attributes: [u64; 3] = [handled, 0, scoped];
    // SAFETY: `attributes` has the size given and lives across the call.
    let result = unsafe {
        libc::syscall(
            libc::SYS_landlock_create_ruleset,
            attributes.as_ptr(),
            size_of_val(&attributes),
            0,
        )
    };
    match libc::c_int::try_from(result) {
        // SAFETY: the kernel has just made this descriptor for us (close-on-exec); nobody else owns it.
        Ok(ruleset) if ruleset >= 0 => Ok(unsafe { OwnedFd::from_raw_fd(ruleset) }),
        _ => Err(io::Error::last_os_error()),
    }
}

/// `struct landlock_path_beneath_attr`, packed as the kernel has it.
#[repr(C, packed)]
struct PathBeneath {
    allowed: u64,
    parent: i32,
}

/// Allows `rights` at and below `place` (landlock_add_rule(2), `LANDLOCK_RULE_PATH_BENEATH`).
pub(crate) fn landlock_allow(ruleset: BorrowedFd, place: BorrowedFd, rights: u64) -> io::Result<()> {
    const PATH_BENEATH: libc::c_int = 1;
    let rule = PathBeneath {
        allowed: rights,
        parent: place.as_raw_fd(),
    };
    // SAFETY: `rule` is a valid attribute that lives across the call; the descriptors are borrowed.
    let result = unsafe {
        libc::syscall(
            libc::SYS_landlock_add_rule,
            ruleset.as_raw_fd(),
            PATH_BENEATH,
            &raw const rule,
            0,
        )
    };
    result_of(result)
}

/// Puts the calling thread into a domain of these rules, for ever. `no_new_privs` must be set.
pub(crate) fn landlock_restrict(ruleset: BorrowedFd) -> io::Result<()> {
    // SAFETY: takes no pointer.
    result_of(unsafe { libc::syscall(libc::SYS_landlock_restrict_self, ruleset.as_raw_fd(), 0) })
}

/// Gives the calling thread a new, empty session keyring (keyctl(2), `KEYCTL_JOIN_SESSION_KEYRING`).
pub(crate) fn join_session_keyring() -> io::Result<()> {
    const JOIN: libc::c_int = 1;
    // SAFETY: a null name asks for an anonymous keyring; no other pointer is taken.
    result_of(unsafe { libc::syscall(libc::SYS_keyctl, JOIN, std::ptr::null::<u8>()) })
}

fn result_of(result: libc::c_long) -> io::Result<()> {
    match result {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

/// Ends the process at once: no destructors, no atexit handlers. For children that must not run the parent's.
pub(crate) fn exit_now(code: i32) -> ! {
    // SAFETY: `_exit` never returns and touches no memory of ours.
    unsafe { libc::_exit(code) }
}

/// Sets the default action for every signal and unblocks all, as a fresh program expects them.
pub(crate) fn reset_signals() {
    for signal in 1..=64 {
        // SAFETY: SIG_DFL is a valid disposition for every number; the kernel refuses those it keeps for itself.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
    }
    let _ = nix::sys::signal::SigSet::all().thread_unblock();
}

/// `LOOP_CTL_GET_FREE` of linux/loop.h.
const LOOP_CTL_GET_FREE: libc::Ioctl = 0x4C82;
/// `LOOP_CONFIGURE` of linux/loop.h, since Linux 5.8.
const LOOP_CONFIGURE: libc::Ioctl = 0x4C0A;
/// `LO_FLAGS_AUTOCLEAR`: the device lets go of its file with its last user.
const LO_FLAGS_AUTOCLEAR: u32 = 4;

/// `struct loop_config` of linux/loop.h, 304 bytes, as words: the descriptor is the first, `info.lo_flags` the sixteenth.
type LoopConfig = [u32; 76];

/// The number of a loop device that nobody uses; `control` is `/dev/loop-control`.
pub(crate) fn free_loop(control: BorrowedFd) -> io::Result<i32> {
    // SAFETY: the descriptor lives across the call, which takes no argument.
    match unsafe { libc::ioctl(control.as_raw_fd(), LOOP_CTL_GET_FREE) } {
        -1 => Err(io::Error::last_os_error()),
        number => Ok(number),
    }
}

/// Makes `device`, a free loop device, show `file`, until its last user has gone.
pub(crate) fn configure_loop(device: BorrowedFd, file: BorrowedFd) -> io::Result<()> {
    let mut config: LoopConfig = [0; 76];
    (config[0], config[15]) = (file.as_raw_fd().cast_unsigned(), LO_FLAGS_AUTOCLEAR);
    // SAFETY: `config` is a loop_config of the size that the kernel reads, and lives across the call, as do both
    // descriptors; the kernel takes a reference of its own to the file.
    match unsafe { libc::ioctl(device.as_raw_fd(), LOOP_CONFIGURE, &raw const config) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

/// `EXT4_IOC_RESIZE_FS`, `_IOW('f', 16, __u64)` of linux/ext4.h.
const EXT4_IOC_RESIZE_FS: libc::Ioctl = nix::request_code_write!(b'f', 16, size_of::<u64>());

/// Lets the mounted ext4 that `directory` is in grow to so many blocks. As many as it has, or fewer by what fits no
/// group, changes nothing.
pub(crate) fn resize_ext4(directory: BorrowedFd, blocks: u64) -> io::Result<()> {
    // SAFETY: `blocks` is the u64 that the kernel reads, and lives across the call, as does the descriptor.
    match unsafe { libc::ioctl(directory.as_raw_fd(), EXT4_IOC_RESIZE_FS, &raw const blocks) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}
