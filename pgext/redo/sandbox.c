/*
 * The sandbox: WAL may come from a hostile superuser, and redo functions trust it.
 *
 * After this, a process that has fallen to a crafted record can compute, fill its log and end. It has no
 * descriptor but its log, cannot open another, start a program, signal or trace anybody.
 */
#include "redo.h"

#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stddef.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

#include "miscadmin.h"

#if defined(__x86_64__)
#define OUR_ARCH AUDIT_ARCH_X86_64
#define RESULT_REGISTER(context) ((context)->uc_mcontext.gregs[REG_RAX])
#elif defined(__aarch64__)
#define OUR_ARCH AUDIT_ARCH_AARCH64
#define RESULT_REGISTER(context) ((context)->uc_mcontext.regs[0])
#else
#error "the sandbox knows x86-64 and AArch64"
#endif

/* Beyond this much private memory an allocation fails instead of the machine. */
#define MEMORY_LIMIT (UINT64CONST(1) << 30)

#define LOAD(field) BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, field))
#define LOAD_ARG(n) LOAD(args[n])	/* the low half: little endian */
#define RETURN(what) BPF_STMT(BPF_RET | BPF_K, what)
#define ALLOW(call) \
	BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_##call, 0, 1), \
	RETURN(SECCOMP_RET_ALLOW)
/* Allowed if the argument has this value. */
#define ALLOW_IF_ARG(call, n, value) \
	BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_##call, 0, 4), \
	LOAD_ARG(n), \
	BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, value, 0, 1), \
	RETURN(SECCOMP_RET_ALLOW), \
	RETURN(SECCOMP_RET_TRAP)

static volatile sig_atomic_t testing = 0;
static volatile sig_atomic_t refused_calls = 0;

/* The kernel has not made the call. In the self-test it returns EPERM; else it is the end. */
static void
on_refused_call(int signal_number, siginfo_t *info, void *context)
{
	char		text[] = "redo helper: the sandbox refused system call 0000\n";
	int			call = info->si_syscall;

	if (testing)
	{
		refused_calls++;
		RESULT_REGISTER((ucontext_t *) context) = -EPERM;
		return;
	}
	for (int i = 0; i < 4; i++)
	{
		text[sizeof(text) - 3 - i] = '0' + call % 10;
		call /= 10;
	}
	if (write(STDERR_FILENO, text, sizeof(text) - 1) < 0)
		_exit(5);
	_exit(4);
}

static void
check_refused(int index, long result)
{
	if (result != -1 || errno != EPERM || refused_calls != index)
		ereport(FATAL,
				(errcode(ERRCODE_SYSTEM_ERROR),
				 errmsg("the redo sandbox does not hold"),
				 errdetail("Forbidden system call number %d of the self-test returned %ld (%m), %d were refused so far.",
						   index, result, (int) refused_calls)));
}

void
redo_enter_sandbox(void)
{
	struct sock_filter filter[] = {
		LOAD(arch),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, OUR_ARCH, 1, 0),
		RETURN(SECCOMP_RET_KILL_PROCESS),
		LOAD(nr),
		ALLOW(futex),
		ALLOW(exit_group),
		ALLOW(exit),
		ALLOW(brk),
		ALLOW(munmap),
		ALLOW(mremap),
		ALLOW(madvise),
		ALLOW(clock_gettime),
		ALLOW(gettimeofday),
		ALLOW(rt_sigreturn),
		ALLOW(rt_sigprocmask),
		ALLOW(getpid),
		ALLOW(gettid),
		ALLOW(getppid),
		ALLOW(restart_syscall),
		ALLOW_IF_ARG(write, 0, STDERR_FILENO),
		/* abort() */
		ALLOW_IF_ARG(tgkill, 0, (uint32) getpid()),
		/* malloc(): anonymous memory, never executable */
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_mmap, 0, 6),
		LOAD_ARG(3),
		BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, MAP_ANONYMOUS, 0, 3),
		LOAD_ARG(2),
		BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, PROT_EXEC, 1, 0),
		RETURN(SECCOMP_RET_ALLOW),
		RETURN(SECCOMP_RET_TRAP),
		RETURN(SECCOMP_RET_TRAP),
	};
	struct sock_fprog program = {lengthof(filter), filter};
	struct sigaction action = {0};
	struct rlimit memory_limit = {MEMORY_LIMIT, MEMORY_LIMIT};
	struct rlimit no_core = {0, 0};
	sigset_t	unblocked;

	if (close_range(0, STDERR_FILENO - 1, 0) < 0 || close_range(STDERR_FILENO + 1, ~0U, 0) < 0)
		ereport(FATAL, (errmsg("could not close the redo helper's descriptors: %m")));
	if (setrlimit(RLIMIT_DATA, &memory_limit) < 0 || setrlimit(RLIMIT_CORE, &no_core) < 0)
		ereport(FATAL, (errmsg("could not limit the redo helper: %m")));

	action.sa_sigaction = on_refused_call;
	action.sa_flags = SA_SIGINFO;
	sigemptyset(&unblocked);
	sigaddset(&unblocked, SIGSYS);
	sigaddset(&unblocked, SIGTERM);
	if (sigaction(SIGSYS, &action, NULL) < 0 || signal(SIGTERM, SIG_DFL) == SIG_ERR ||
		sigprocmask(SIG_UNBLOCK, &unblocked, NULL) < 0)
		ereport(FATAL, (errmsg("could not set the redo helper's signals: %m")));

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ||
		prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program, 0, 0) < 0)
		ereport(FATAL,
				(errcode(ERRCODE_SYSTEM_ERROR),
				 errmsg("could not enter the redo sandbox: %m"),
				 errhint("The kernel must support seccomp filters.")));

	testing = 1;
	check_refused(1, syscall(SYS_openat, AT_FDCWD, "/", O_RDONLY, 0));
	check_refused(2, syscall(SYS_socket, AF_UNIX, SOCK_STREAM, 0));
	check_refused(3, syscall(SYS_kill, getppid(), 0));
	check_refused(4, syscall(SYS_execve, NULL, NULL, NULL));
	check_refused(5, syscall(SYS_mmap, NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
	check_refused(6, write(STDOUT_FILENO, "", 0));
	testing = 0;
}
