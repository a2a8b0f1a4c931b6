// Asks the kernel, from inside of whatever this runs in, for everything that a sandbox should refuse, and for what it must
// not. One line per probe: `name result`, where the result is OK, the name of an errno, KILLED, or a number.
//
//   battery DIRECTORY          all probes; the directory is one of the host that everybody may write, mounted read-only
//   battery DIRECTORY control  the same as root of the host, each in mount and uts namespaces of its own: nothing stays
//   battery filter PID         the seccomp program of a process, as the kernel has it: `code jt jf k` a line
//
// No probe writes a harmful value: what is opened for writing is closed again, arguments are invalid where the call could
// do something.
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <mqueue.h>
#include <netinet/in.h>
#include <sched.h>
#include <semaphore.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/reboot.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <sys/timex.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <linux/filter.h>
#include <ifaddrs.h>
#include <pthread.h>
#include <unistd.h>

#define CALL(...) (syscall(__VA_ARGS__) < 0 ? errno : 0)
#define DID(expression) ((expression) < 0 ? errno : 0)
static char buffer[4096];
static const char *shared;
static int control;

static int opened(int fd) {
    if (fd < 0) return errno;
    close(fd);
    return 0;
}
static int writable(const char *path) { return opened(open(path, O_WRONLY | O_CLOEXEC)); }
static int sock(int domain, int type, int protocol) { return opened(socket(domain, type, protocol)); }

// ---- the battery of 41 -------------------------------------------------------------------------------------------------
static int unshare_user(void) { return CALL(SYS_unshare, 0x10000000); }
static int unshare_net(void) { return CALL(SYS_unshare, 0x40000000); }
static int setns_none(void) { return CALL(SYS_setns, -1, 0); }
static int io_uring(void) { return opened(syscall(425, 1, memset(buffer, 0, 256))); }
static int userfaultfd(void) { return opened(syscall(SYS_userfaultfd, 1)); }
static int keyctl_session(void) { return CALL(SYS_keyctl, 0, -3, 1); }
static int add_key(void) { return CALL(SYS_add_key, "user", "pactown-probe", "x", 1, -2); }
static int bpf_none(void) { return CALL(SYS_bpf, -1, 0, 0); }
static int perf(void) { return CALL(SYS_perf_event_open, 0, 0, -1, -1, 0); }
static int vsock(void) { return sock(40, SOCK_STREAM, 0); }
static int packet(void) { return sock(17, SOCK_RAW, 0); }
static int xdp(void) { return sock(44, SOCK_RAW, 0); }
static int raw(void) { return sock(2, SOCK_RAW, 1); }
static int netlink_xfrm(void) { return sock(16, SOCK_RAW, 6); }
static int netlink_audit(void) { return sock(16, SOCK_RAW, 9); }
static int netlink_netfilter(void) { return sock(16, SOCK_RAW, 12); }
static int netlink_uevent(void) { return sock(16, SOCK_RAW, 15); }
static int memfd_secret_(void) { return opened(syscall(447, 0)); }
static int modify_ldt_(void) {
#ifdef SYS_modify_ldt
    return CALL(SYS_modify_ldt, 0, 0, 0);
#else
    return ENOSYS;
#endif
}
static int kcmp_self(void) { return CALL(SYS_kcmp, getpid(), getpid(), 0, 0, 0); }
static int personality_exec(void) { return CALL(SYS_personality, 0x0400000); }
static int chroot_(void) { return CALL(SYS_chroot, "/"); }
static int mount_tmpfs(void) { return CALL(SYS_mount, "none", "/tmp", "tmpfs", 0, 0); }
static int fsopen_(void) { return opened(syscall(430, "tmpfs", 0)); }
static int open_tree_(void) { return opened(syscall(428, -100, "/", 1)); }
static int by_handle(void) { return CALL(SYS_open_by_handle_at, -1, 0, 0); }
static int name_to_handle(void) { return CALL(SYS_name_to_handle_at, -100, "/", 0, 0, 0); }
static int ptrace_me(void) { return CALL(SYS_ptrace, 0, 0, 0, 0); }
static int vm_readv(void) { return CALL(SYS_process_vm_readv, getpid(), 0, 0, 0, 0, 0); }
static int pidfd_getfd_(void) { return CALL(438, -1, 0, 0); }
static int fanotify(void) { return opened(syscall(SYS_fanotify_init, 0x200, 0)); }
static int syslog_read(void) { return CALL(SYS_syslog, 3, buffer, 64); }
static int sethostname_(void) { return CALL(SYS_sethostname, "x", 1); }
static int swapon_(void) { return CALL(SYS_swapon, "/nonexist", 0); }
static int quotactl_(void) { return CALL(SYS_quotactl, 0, 0, 0, 0); }
static int mbind_(void) { return CALL(SYS_mbind, 0, 0, 0, 0, 0, 0); }
static int ioperm_(void) {
#ifdef SYS_ioperm
    return CALL(SYS_ioperm, 0, 1, 0);
#else
    return ENOSYS;
#endif
}
static int made(const char *path, mode_t mode, dev_t device) {
    unlink(path);
    int result = mknod(path, mode, device) < 0 ? errno : 0;
    unlink(path);
    return result;
}
static int mknod_char(void) { return made("/tmp/pactown-probe-char", S_IFCHR | 0600, 0x101); }
static int mode_of(mode_t mode) {
    const char *path = "/tmp/pactown-probe-mode";
    close(open(path, O_CREAT | O_RDWR | O_CLOEXEC, 0700));
    int result = chmod(path, mode) < 0 ? errno : 0;
    unlink(path);
    return result;
}
static int chmod_setuid(void) { return mode_of(04755); }
// A terminal of our own as the controlling one, then the request on it.
static int terminal(unsigned long request) {
    int master = open("/dev/ptmx", O_RDWR | O_NOCTTY | O_CLOEXEC);
    if (master < 0) return 1000 + errno;
    int zero = 0, number = 0;
    ioctl(master, TIOCSPTLCK, &zero);
    ioctl(master, TIOCGPTN, &number);
    char name[32];
    snprintf(name, sizeof name, "/dev/pts/%d", number);
    setsid();
    int slave = open(name, O_RDWR | O_CLOEXEC);
    if (slave < 0) return 1000 + errno;
    ioctl(slave, TIOCSCTTY, 0);
    char byte = 2;
    return CALL(SYS_ioctl, slave, request, &byte);
}
static int tiocsti(void) { return terminal(0x5412); }
static int core_pattern(void) { return writable("/proc/sys/kernel/core_pattern"); }

// ---- further rows ------------------------------------------------------------------------------------------------------
static int clone3_none(void) { return CALL(435, 0, 0); }
static int unshare_flag(int flag) { return CALL(SYS_unshare, flag); }
static int unshare_mount(void) { return unshare_flag(CLONE_NEWNS); }
static int unshare_pid(void) { return unshare_flag(CLONE_NEWPID); }
static int unshare_ipc(void) { return unshare_flag(CLONE_NEWIPC); }
static int unshare_uts(void) { return unshare_flag(CLONE_NEWUTS); }
static int unshare_cgroup(void) { return unshare_flag(CLONE_NEWCGROUP); }
static int unshare_time(void) { return unshare_flag(0x80); }
static int clone_user(void) {
    long child = syscall(SYS_clone, CLONE_NEWUSER | SIGCHLD, 0, 0, 0, 0);
    if (child == 0) _exit(0);
    if (child > 0) waitpid(child, 0, 0);
    return child < 0 ? errno : 0;
}
static int mount_cgroup(void) { return CALL(SYS_mount, "none", "/tmp", "cgroup", 0, "pids"); }
static int umount_(void) { return CALL(SYS_umount2, "/proc", MNT_DETACH); }
static int pivot_root_(void) { return CALL(SYS_pivot_root, "/nonexist", "/nonexist"); }
static int fsconfig_(void) { return CALL(431, -1, 0, 0, 0, 0); }
static int fsmount_(void) { return CALL(432, -1, 0, 0); }
static int fspick_(void) { return CALL(433, -1, "", 0); }
static int move_mount_(void) { return CALL(429, -1, "", -1, "", 0x44); }
static int mount_setattr_(void) { return CALL(442, -1, "", 0, 0, 0); }
static int request_key_(void) { return CALL(SYS_request_key, "user", "pactown-probe-none", 0, 0); }
static int enter_ring(void) { return CALL(426, -1, 0, 0, 0, 0, 0); }
static int register_ring(void) { return CALL(427, -1, 0, 0, 0); }
static int uffd_node(void) { return opened(open("/dev/userfaultfd", O_RDWR | O_CLOEXEC)); }
static int alg(void) { return sock(38, SOCK_SEQPACKET, 0); }
static int socketpair_inet(void) {
    int pair[2];
    return DID(socketpair(AF_INET, SOCK_STREAM, 0, pair));
}
static int icmp_raw6(void) { return sock(10, SOCK_RAW, 58); }
static int tiocsti_high(void) { return terminal(0x100005412UL); }
static int tioclinux(void) { return terminal(0x541c); }
static int own_tty(void) { return opened(open("/dev/tty", O_RDWR | O_CLOEXEC)); }
static int int80(void) {
#ifdef __x86_64__
    long result = 20;
    __asm__ volatile("int $0x80" : "+a"(result) : : "memory", "r8", "r9", "r10", "r11");
    return result < 0 ? (int)-result : 0;
#else
    return ENOSYS;
#endif
}
static int x32(void) { return CALL(0x40000000 + 39); }
static int chmod_setgid(void) { return mode_of(02755); }
static int create_setuid(void) {
    const char *path = "/tmp/pactown-probe-create";
    unlink(path);
    int result = opened(open(path, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 04700));
    unlink(path);
    return result;
}
static int mknod_block(void) { return made("/tmp/pactown-probe-block", S_IFBLK | 0600, 0xfe00); }
static int device(const char *path) { return opened(open(path, O_RDWR | O_NONBLOCK | O_CLOEXEC)); }
static int dev_kmsg(void) { return device("/dev/kmsg"); }
static int dev_fuse(void) { return device("/dev/fuse"); }
static int dev_kvm(void) { return device("/dev/kvm"); }
static int dev_vsock(void) { return device("/dev/vsock"); }
static int dev_tun(void) { return device("/dev/net/tun"); }
static int dev_loop(void) { return device("/dev/loop-control"); }
static int dev_vda(void) { return opened(open("/dev/vda", O_RDONLY | O_CLOEXEC)); }
static int settimeofday_(void) { return CALL(SYS_settimeofday, 0, 0); }
static int clock_settime_(void) { return CALL(SYS_clock_settime, 0, (void *)-1); }
static int adjtimex_(void) {
    struct timex none = {.modes = 0};
    return CALL(SYS_adjtimex, &none);
}
static int clock_adjtime_(void) {
    struct timex none = {.modes = 0};
    return CALL(SYS_clock_adjtime, 0, &none);
}
static int reboot_(void) { return CALL(SYS_reboot, 0, 0, 0, 0); }
static int kexec(void) { return CALL(SYS_kexec_load, 0, 100, 0, 0); }
static int acct_(void) { return CALL(SYS_acct, "/nonexist"); }
static int init_module_(void) { return CALL(SYS_init_module, 0, 0, 0); }
static int finit_module_(void) { return CALL(SYS_finit_module, -1, "", 0); }
static int delete_module_(void) { return CALL(SYS_delete_module, "", 0); }
static int vhangup_(void) { return CALL(SYS_vhangup); }
static int setdomainname_(void) { return CALL(SYS_setdomainname, "x", 1); }
static int iopl_(void) {
#ifdef SYS_iopl
    return CALL(SYS_iopl, 0);
#else
    return ENOSYS;
#endif
}
static int migrate(void) { return CALL(SYS_migrate_pages, getpid(), 0, 0, 0); }
static int move_pages_(void) { return CALL(SYS_move_pages, 0, 0, 0, 0, 0, 0); }
static int vm_writev(void) { return CALL(SYS_process_vm_writev, getpid(), 0, 0, 0, 0, 0); }
static int process_madvise_(void) { return CALL(440, -1, 0, 0, 0, 0); }
static int xattr(const char *name) {
    const char *path = "/tmp/pactown-probe-xattr";
    close(open(path, O_CREAT | O_RDWR | O_CLOEXEC, 0700));
    int result = setxattr(path, name, "x", 1, 0) < 0 ? errno : 0;
    unlink(path);
    return result;
}
static int trusted_xattr(void) { return xattr("trusted.overlay.opaque"); }
static int file_capability(void) {
    const char *path = "/tmp/pactown-probe-capability";
    static const unsigned char value[20] = {1, 0, 0, 2, 0, 4};
    close(open(path, O_CREAT | O_RDWR | O_CLOEXEC, 0700));
    int result = setxattr(path, "security.capability", value, sizeof value, 0) < 0 ? errno : 0;
    unlink(path);
    return result;
}
static int priority(void) { return DID(setpriority(PRIO_PROCESS, 0, -20)); }
static int fifo(void) {
    struct sched_param one = {.sched_priority = 1};
    return DID(sched_setscheduler(0, SCHED_FIFO, &one));
}
static int ioprio(void) { return CALL(SYS_ioprio_set, 1, 0, 1 << 13); }
static int core_limit(void) {
    struct rlimit limit = {RLIM_INFINITY, RLIM_INFINITY};
    return DID(setrlimit(RLIMIT_CORE, &limit));
}
static int attach_bpf(void) {
    struct sock_filter one = {0x06, 0, 0, 0};
    struct sock_fprog program = {1, &one};
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    return DID(setsockopt(fd, SOL_SOCKET, 52, &program, 4)); // SO_ATTACH_REUSEPORT_EBPF
}
// A tree of the host that everybody may write, mounted read-only.
static int write_read_only(void) {
    char path[512];
    snprintf(path, sizeof path, "%s/pactown-probe", shared);
    int result = opened(open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
    unlink(path);
    return result;
}
static int truncate_read_only(void) {
    char path[512];
    snprintf(path, sizeof path, "%s/file", shared);
    return DID(truncate(path, 0));
}
// A listener of the host's.
static int abstract_socket(void) {
    struct sockaddr_un name = {.sun_family = AF_UNIX, .sun_path = "\0pactown-probe"};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    return DID(connect(fd, (void *)&name, offsetof(struct sockaddr_un, sun_path) + 14));
}
static int trace_init(void) { return CALL(SYS_ptrace, PTRACE_SEIZE, 1, 0, 0); }
static int signal_init(void) { return DID(kill(1, 0)); }
static int usermode_helper(void) { return writable("/proc/sys/kernel/modprobe"); }
static int uevent_helper(void) { return writable("/sys/kernel/uevent_helper"); }
static int sysrq(void) { return writable("/proc/sysrq-trigger"); }
static int binfmt(void) { return writable("/proc/sys/fs/binfmt_misc/register"); }

// ---- what must keep working --------------------------------------------------------------------------------------------
static int unix_socket(void) { return sock(1, SOCK_STREAM, 0); }
static int inet(void) { return sock(2, SOCK_STREAM, 0); }
static int inet6(void) { return sock(10, SOCK_STREAM, 0); }
static int route(void) { return sock(16, SOCK_RAW, 0); }
static int interfaces(void) {
    struct ifaddrs *list = 0;
    if (getifaddrs(&list) < 0) return errno;
    freeifaddrs(list);
    return 0;
}
static int icmp(void) { return sock(2, SOCK_DGRAM, 1); }
static int port80(void) {
    struct sockaddr_in name = {.sin_family = AF_INET, .sin_port = htons(80)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    return DID(bind(fd, (void *)&name, sizeof name));
}
static int epoll(void) { return opened(epoll_create1(0)); }
static int inotify(void) {
    int fd = inotify_init1(0);
    return fd < 0 ? errno : DID(inotify_add_watch(fd, "/tmp", IN_CREATE));
}
static int signal_fd(void) {
    sigset_t set;
    sigemptyset(&set);
    return opened(signalfd(-1, &set, 0));
}
static int timer_fd(void) { return opened(timerfd_create(CLOCK_MONOTONIC, 0)); }
static int event_fd(void) { return opened(eventfd(0, 0)); }
static int memfd(void) { return opened(memfd_create("x", 0)); }
static int pidfd(void) {
    pid_t child = fork();
    if (child == 0) _exit(0);
    int result = opened(syscall(SYS_pidfd_open, child, 0));
    waitpid(child, 0, 0);
    return result;
}
static int executable_memory(void) {
    void *page = mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return page == MAP_FAILED ? errno : DID(mprotect(page, 4096, PROT_READ | PROT_EXEC));
}
static void *nothing(void *argument) { return argument; }
static int threads(void) {
    pthread_t thread;
    int result = pthread_create(&thread, 0, nothing, 0);
    return result ? result : pthread_join(thread, 0);
}
static int run_program(void) {
    int status = system("exit 3");
    return WIFEXITED(status) && WEXITSTATUS(status) == 3 ? 0 : ECHILD;
}
static int lock(void) {
    int fd = open("/tmp/pactown-probe-lock", O_CREAT | O_RDWR | O_CLOEXEC, 0600);
    int result = DID(flock(fd, LOCK_EX));
    unlink("/tmp/pactown-probe-lock");
    return result;
}
static int rename_across(void) {
    mkdir("/tmp/pactown-probe-a", 0700);
    mkdir("/tmp/pactown-probe-b", 0700);
    close(open("/tmp/pactown-probe-a/x", O_CREAT | O_RDWR | O_CLOEXEC, 0600));
    int result = CALL(SYS_renameat2, -100, "/tmp/pactown-probe-a/x", -100, "/tmp/pactown-probe-b/x", 1);
    unlink("/tmp/pactown-probe-a/x");
    unlink("/tmp/pactown-probe-b/x");
    rmdir("/tmp/pactown-probe-a");
    rmdir("/tmp/pactown-probe-b");
    return result;
}
static int link_across(void) {
    mkdir("/tmp/pactown-probe-c", 0700);
    close(open("/tmp/pactown-probe-l", O_CREAT | O_RDWR | O_CLOEXEC, 0600));
    int result = DID(link("/tmp/pactown-probe-l", "/tmp/pactown-probe-c/l"));
    unlink("/tmp/pactown-probe-c/l");
    unlink("/tmp/pactown-probe-l");
    rmdir("/tmp/pactown-probe-c");
    return result;
}
static int statx_(void) { return CALL(SYS_statx, -100, "/", 0, 0xfff, buffer); }
static int openat2_(void) {
    uint64_t how[3] = {O_PATH | O_CLOEXEC, 0, 0};
    return opened(syscall(437, -100, "/", how, sizeof how));
}
static int random_(void) { return CALL(SYS_getrandom, buffer, 8, 0); }
static int affinity(void) { return CALL(SYS_sched_getaffinity, 0, 128, buffer); }
static int barrier(void) { return CALL(SYS_membarrier, 0, 0, 0); }
static int shared_memory(void) {
    int result = opened(shm_open("/pactown-probe", O_CREAT | O_RDWR, 0600));
    shm_unlink("/pactown-probe");
    return result;
}
static int semaphore(void) {
    sem_t *semaphore = sem_open("/pactown-probe", O_CREAT, 0600, 1);
    sem_unlink("/pactown-probe");
    return semaphore == SEM_FAILED ? errno : 0;
}
static int queue(void) {
    mqd_t queue = mq_open("/pactown-probe", O_CREAT | O_RDWR, 0600, 0);
    mq_unlink("/pactown-probe");
    return queue < 0 ? errno : 0;
}
static int make_fifo(void) { return made("/tmp/pactown-probe-fifo", S_IFIFO | 0600, 0); }
static int listen_unix(void) {
    struct sockaddr_un name = {.sun_family = AF_UNIX, .sun_path = "/tmp/pactown-probe-socket"};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int result = DID(bind(fd, (void *)&name, sizeof name));
    unlink(name.sun_path);
    return result;
}
static int thread_name(void) { return writable("/proc/self/task/self/comm") == ENOENT ? writable("/proc/self/comm") : 0; }
static int null_device(void) { return opened(open("/dev/null", O_WRONLY | O_TRUNC | O_CREAT | O_CLOEXEC, 0600)); }
static int personality_ask(void) { return CALL(SYS_personality, 0xffffffff); }
static int new_terminal(void) { return opened(open("/dev/ptmx", O_RDWR | O_NOCTTY | O_CLOEXEC)); }
static int domain_of_its_own(void) {
    uint64_t attributes[3] = {2, 0, 0};
    return opened(syscall(444, attributes, sizeof attributes, 0));
}

// `battery`: of the 41. `row`: further rows. `works`: what must keep working.
static const struct { const char *kind, *name; int (*run)(void); } PROBES[] = {
#define B(name, function) {"battery", name, function}
#define R(name, function) {"row", name, function}
#define W(name, function) {"works", name, function}
    B("unshare_user", unshare_user), B("unshare_net", unshare_net), B("setns", setns_none), B("io_uring_setup", io_uring),
    B("userfaultfd", userfaultfd), B("keyctl", keyctl_session), B("add_key", add_key), B("bpf", bpf_none),
    B("perf_event_open", perf), B("socket_vsock", vsock), B("socket_packet", packet), B("socket_xdp", xdp),
    B("socket_raw", raw), B("netlink_xfrm", netlink_xfrm), B("netlink_audit", netlink_audit),
    B("netlink_netfilter", netlink_netfilter), B("netlink_uevent", netlink_uevent), B("memfd_secret", memfd_secret_),
    B("modify_ldt", modify_ldt_), B("kcmp", kcmp_self), B("personality", personality_exec), B("chroot", chroot_),
    B("mount", mount_tmpfs), B("fsopen", fsopen_), B("open_tree", open_tree_), B("open_by_handle_at", by_handle),
    B("name_to_handle_at", name_to_handle), B("ptrace", ptrace_me), B("process_vm_readv", vm_readv),
    B("pidfd_getfd", pidfd_getfd_), B("fanotify_init", fanotify), B("syslog", syslog_read),
    B("sethostname", sethostname_), B("swapon", swapon_), B("quotactl", quotactl_), B("mbind", mbind_),
    B("ioperm", ioperm_), B("mknod_char", mknod_char), B("chmod_setuid", chmod_setuid), B("tiocsti", tiocsti),
    B("core_pattern", core_pattern),
    R("clone3", clone3_none), R("unshare_mount", unshare_mount), R("unshare_pid", unshare_pid),
    R("unshare_ipc", unshare_ipc), R("unshare_uts", unshare_uts), R("unshare_cgroup", unshare_cgroup),
    R("unshare_time", unshare_time), R("clone_user", clone_user), R("mount_cgroup", mount_cgroup), R("umount2", umount_),
    R("pivot_root", pivot_root_), R("fsconfig", fsconfig_), R("fsmount", fsmount_), R("fspick", fspick_),
    R("move_mount", move_mount_), R("mount_setattr", mount_setattr_), R("request_key", request_key_),
    R("io_uring_enter", enter_ring), R("io_uring_register", register_ring), R("dev_userfaultfd", uffd_node),
    R("socket_alg", alg), R("socketpair_inet", socketpair_inet), R("socket_raw6", icmp_raw6),
    R("tiocsti_high_bits", tiocsti_high), R("tioclinux", tioclinux), R("dev_tty", own_tty), R("int80", int80),
    R("x32", x32), R("chmod_setgid", chmod_setgid), R("create_setuid", create_setuid), R("mknod_block", mknod_block),
    R("dev_kmsg", dev_kmsg), R("dev_fuse", dev_fuse), R("dev_kvm", dev_kvm), R("dev_vsock", dev_vsock),
    R("dev_net_tun", dev_tun), R("dev_loop_control", dev_loop), R("dev_vda", dev_vda), R("settimeofday", settimeofday_),
    R("clock_settime", clock_settime_), R("adjtimex", adjtimex_), R("clock_adjtime", clock_adjtime_),
    R("reboot", reboot_), R("kexec_load", kexec), R("acct", acct_), R("init_module", init_module_),
    R("finit_module", finit_module_), R("delete_module", delete_module_), R("vhangup", vhangup_),
    R("setdomainname", setdomainname_), R("iopl", iopl_), R("migrate_pages", migrate), R("move_pages", move_pages_),
    R("process_vm_writev", vm_writev), R("process_madvise", process_madvise_), R("xattr_trusted", trusted_xattr),
    R("file_capability", file_capability), R("setpriority", priority), R("sched_fifo", fifo), R("ioprio_rt", ioprio),
    R("rlimit_core", core_limit), R("reuseport_ebpf", attach_bpf), R("write_read_only", write_read_only),
    R("truncate_read_only", truncate_read_only), R("abstract_socket", abstract_socket), R("trace_init", trace_init),
    R("signal_init", signal_init), R("modprobe_path", usermode_helper), R("uevent_helper", uevent_helper),
    R("sysrq_trigger", sysrq), R("binfmt_register", binfmt),
    W("unix", unix_socket), W("inet", inet), W("inet6", inet6), W("netlink_route", route), W("getifaddrs", interfaces),
    W("icmp_datagram", icmp), W("bind_port_80", port80), W("epoll", epoll), W("inotify", inotify),
    W("signalfd", signal_fd), W("timerfd", timer_fd), W("eventfd", event_fd), W("memfd_create", memfd),
    W("pidfd_open", pidfd), W("mprotect_exec", executable_memory), W("threads", threads), W("fork_exec", run_program),
    W("flock", lock), W("rename_across", rename_across), W("link_across", link_across), W("statx", statx_),
    W("openat2", openat2_), W("getrandom", random_), W("sched_getaffinity", affinity), W("membarrier", barrier),
    W("shm_open", shared_memory), W("sem_open", semaphore), W("mq_open", queue), W("mkfifo", make_fifo),
    W("unix_listen", listen_unix), W("proc_comm", thread_name), W("dev_null", null_device),
    W("personality_ask", personality_ask), W("new_pty", new_terminal), W("landlock", domain_of_its_own),
};

// Each in a process of its own: some change it for ever, some end it.
static void probe(const char *kind, const char *name, int (*run)(void)) {
    int pipes[2];
    if (pipe2(pipes, O_CLOEXEC) < 0) exit(1);
    pid_t child = fork();
    if (child == 0) {
        alarm(5);
        // No terminal of the caller's can be hung up.
        setsid();
        if (control && (unshare(CLONE_NEWNS | CLONE_NEWUTS) < 0 || mount("", "/", 0, MS_REC | MS_PRIVATE, 0) < 0)) _exit(1);
        int result = run();
        if (write(pipes[1], &result, sizeof result) < 0) _exit(1);
        _exit(0);
    }
    close(pipes[1]);
    int result = 0, status = 0;
    ssize_t count = read(pipes[0], &result, sizeof result);
    close(pipes[0]);
    waitpid(child, &status, 0);
    const char *text = count != sizeof result ? "KILLED" : result == 0 ? "OK" : strerrorname_np(result);
    if (text)
        printf("%s %s %s\n", kind, name, text);
    else
        printf("%s %s E%d\n", kind, name, result);
    fflush(stdout);
}

// ---- walks and readings ------------------------------------------------------------------------------------------------
// Files that this process may open for writing, as faccessat(W_OK, AT_EACCESS) says; the first ones are named.
static int named;
static int walk(const char *directory, int depth) {
    DIR *open_directory = opendir(directory);
    if (!open_directory || depth > 24) return 0;
    int found = 0;
    for (struct dirent *entry; (entry = readdir(open_directory));) {
        char path[4096];
        if (!strcmp(entry->d_name, ".") || !strcmp(entry->d_name, "..")) continue;
        int top = !strcmp(directory, "/proc");
        // Its own processes are its own business.
        if (top && (strspn(entry->d_name, "0123456789") == strlen(entry->d_name) || !strcmp(entry->d_name, "self") ||
                    !strcmp(entry->d_name, "thread-self")))
            continue;
        if (snprintf(path, sizeof path, "%s/%s", directory, entry->d_name) >= (int)sizeof path) continue;
        struct stat about;
        if (lstat(path, &about) < 0 || S_ISLNK(about.st_mode)) continue;
        if (S_ISDIR(about.st_mode))
            found += walk(path, depth + 1);
        else if (faccessat(AT_FDCWD, path, W_OK, AT_EACCESS) == 0 && found++ < 3 && named++ < 10)
            printf("writable %s OK\n", path);
    }
    closedir(open_directory);
    return found;
}

static void read_file(const char *path) {
    int fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0) {
        printf("read %s %s\n", path, strerrorname_np(errno));
        return;
    }
    struct stat about;
    fstat(fd, &about);
    if (S_ISDIR(about.st_mode)) {
        int entries = 0;
        DIR *directory = fdopendir(fd);
        for (struct dirent *entry; (entry = readdir(directory));) entries += entry->d_name[0] != '.';
        closedir(directory);
        printf("read %s %s\n", path, entries ? "OK" : "EMPTY");
        return;
    }
    ssize_t count = read(fd, buffer, sizeof buffer);
    printf("read %s %s\n", path, count > 0 ? "OK" : count == 0 ? "EMPTY" : strerrorname_np(errno));
    close(fd);
}

static void readings(void) {
    static const char *SECRET[] = {
        "/proc/keys", "/proc/key-users", "/proc/kcore", "/proc/timer_list", "/proc/interrupts", "/proc/softirqs",
        "/proc/kallsyms", "/proc/slabinfo", "/proc/vmallocinfo", "/proc/pagetypeinfo", "/proc/sched_debug",
        "/proc/latency_stats", "/proc/kmsg", "/proc/mtrr", "/proc/acpi", "/proc/scsi", "/proc/asound", "/proc/modules",
        "/proc/iomem", "/proc/ioports", "/proc/config.gz", "/proc/buddyinfo", "/proc/zoneinfo", "/proc/kpageflags",
        "/sys/firmware", "/sys/kernel", "/sys/fs/bpf", "/sys/power", "/sys/devices/virtual/powercap", "/sys/class",
        "/sys/block", "/sys/bus", "/sys/module", "/sys/devices/system/cpu/cpu0/thermal_throttle",
    };
    for (size_t i = 0; i < sizeof SECRET / sizeof *SECRET; i++) read_file(SECRET[i]);
}

static void itself(void) {
    char line[512];
    FILE *status = fopen("/proc/self/status", "re");
    while (status && fgets(line, sizeof line, status)) {
        static const char *FIELDS[] = {"Cap", "NoNewPrivs", "Seccomp:", "Groups", "Uid", "Gid"};
        for (size_t i = 0; i < sizeof FIELDS / sizeof *FIELDS; i++)
            if (!strncmp(line, FIELDS[i], strlen(FIELDS[i]))) {
                for (char *at = line; *at; at++)
                    if (*at == '\t' || *at == ' ' || *at == '\n') *at = '_';
                printf("self %s\n", line);
            }
    }
    static const char *NAMESPACES[] = {"mnt", "pid", "net", "ipc", "uts", "cgroup", "user", "time"};
    for (size_t i = 0; i < 8; i++) {
        char path[64];
        snprintf(path, sizeof path, "/proc/self/ns/%s", NAMESPACES[i]);
        ssize_t count = readlink(path, line, sizeof line - 1);
        printf("self namespace_%.*s\n", (int)(count < 0 ? 0 : count), line);
    }
    for (int resource = 0; resource < 16; resource++) {
        struct rlimit limit;
        getrlimit(resource, &limit);
        printf("self rlimit_%d_%llu_%llu\n", resource, (unsigned long long)limit.rlim_cur,
               (unsigned long long)limit.rlim_max);
    }
    printf("self session_%s\n", getsid(0) > 0 ? "inside" : "outside");
}

static void descriptors(void) {
    int open_ones = 0;
    for (int fd = 3; fd < 4096; fd++) open_ones += fcntl(fd, F_GETFD) >= 0;
    char *here = getcwd(buffer, sizeof buffer);
    printf("count descriptors %d\n", open_ones);
    printf("count unreachable_cwd %d\n", !here || here[0] != '/');
}

static int filter(pid_t pid) {
    if (ptrace(PTRACE_SEIZE, pid, 0, 0) < 0 || ptrace(PTRACE_INTERRUPT, pid, 0, 0) < 0) return 1;
    waitpid(pid, 0, __WALL);
    static struct sock_filter program[1 << 16];
    long count = ptrace(0x420c, pid, 0, program); // PTRACE_SECCOMP_GET_FILTER
    for (long i = 0; i < count; i++)
        printf("%u %u %u %u\n", program[i].code, program[i].jt, program[i].jf, program[i].k);
    ptrace(PTRACE_DETACH, pid, 0, 0);
    return count > 0 ? 0 : 2;
}

int main(int count, char **arguments) {
    if (count == 3 && !strcmp(arguments[1], "filter")) return filter(atoi(arguments[2]));
    if (count < 2) return 2;
    shared = arguments[1];
    control = count == 3;
    descriptors();
    itself();
    for (size_t i = 0; i < sizeof PROBES / sizeof *PROBES; i++) probe(PROBES[i].kind, PROBES[i].name, PROBES[i].run);
    readings();
    printf("count writable_proc %d\n", walk("/proc", 0));
    printf("count writable_sys %d\n", walk("/sys", 0));
    return 0;
}
