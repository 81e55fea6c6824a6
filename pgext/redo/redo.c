/*
 * The redo role: "postgres --single" that never becomes a server. It takes over when shared memory stands,
 * becomes a startup process in eternal crash recovery over a storage manager in memory, locks itself in, and
 * serves batches of pages from the redo ring until its pool ends.
 */
#include "redo.h"

#include <linux/futex.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/shm.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "access/xlog.h"
#include "access/xlog_internal.h"
#include "access/xlogutils.h"
#include "miscadmin.h"
#include "storage/ipc.h"
#include "storage/pg_shmem.h"
#include "storage/proc.h"
#include "tidewater.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/resowner.h"

/* How often an idle helper looks whether its pool still lives, should the kernel not have told it. */
#define PARENT_CHECK_SECONDS 1

static int	redo_fd = -1;
static char *ring = NULL;
static uint64 ring_bytes = 0;
static TideRedoHeader *header = NULL;

static void
map_ring(void)
{
	struct stat status;

	if (redo_fd < 0)
		ereport(FATAL,
				(errcode(ERRCODE_CONFIG_FILE_ERROR),
				 errmsg("tidewater.redo_fd is not set"),
				 errhint("Redo helpers are started by the page store.")));
	if (fstat(redo_fd, &status) < 0)
		ereport(FATAL, (errmsg("could not examine the redo ring, descriptor %d: %m", redo_fd)));
	if (status.st_size < TIDE_REDO_PAGES_OFFSET)
		ereport(FATAL, (errmsg("the redo ring, descriptor %d, is too small: %lld bytes", redo_fd,
							   (long long) status.st_size)));
	ring_bytes = status.st_size;
	ring = mmap(NULL, ring_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, redo_fd, 0);
	if (ring == MAP_FAILED)
		ereport(FATAL, (errmsg("could not map the redo ring, descriptor %d: %m", redo_fd)));
	header = (TideRedoHeader *) ring;
	if (header->magic != TIDE_REDO_MAGIC || header->version != TIDE_REDO_VERSION ||
		header->bytes != ring_bytes)
		ereport(FATAL,
				(errmsg("the redo ring is not of this version"),
				 errdetail("Found magic %08X, version %u, %llu bytes; expected %08X, %u, %llu.", header->magic,
						   header->version, (unsigned long long) header->bytes, TIDE_REDO_MAGIC,
						   TIDE_REDO_VERSION, (unsigned long long) ring_bytes)));
}

/* What AuxiliaryProcessMain and StartupXLOG do for a startup process, as far as redo functions see it. */
static void
become_startup_process(void)
{
	int			segment;

	MyAuxProcType = StartupProcess;
	MyBackendType = B_STARTUP;
	SetProcessingMode(BootstrapProcessing);
	InitAuxiliaryProcess();
	BaseInit();
	CreateAuxProcessResourceOwner();
	SetProcessingMode(NormalProcessing);

	if (DataChecksumsEnabled())
		ereport(FATAL,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("the template cluster has data checksums"),
				 errhint("Make it with initdb without --data-checksums.")));

	InRecovery = true;
	standbyState = STANDBY_DISABLED;
	RmgrStartup();

	/* Nobody cleans up after kill -9: mark the System V segment as gone while we hold it. */
	segment = shmget(UsedShmemSegID, 0, 0);
	if (segment >= 0)
		shmctl(segment, IPC_RMID, NULL);
}

static void
report_error(TideRedoPage *page)
{
	ErrorData  *error = CopyErrorData();
	StringInfoData text;

	initStringInfo(&text);
	appendStringInfoString(&text, error->message ? error->message : "no message");
	if (error->detail)
		appendStringInfo(&text, "; %s", error->detail);
	if (error->context)
		appendStringInfo(&text, "; %s", error->context);
	page->error_length = Min(text.len, TIDE_REDO_ERROR_BYTES);
	memcpy(page->error, text.data, page->error_length);
	page->status = TIDE_REDO_FAILED;
}

static void
serve_batch(void)
{
	TideRedoPage *pages = (TideRedoPage *) (ring + TIDE_REDO_PAGES_OFFSET);
	uint32		count = header->page_count;

	if (count > (ring_bytes - TIDE_REDO_PAGES_OFFSET) / sizeof(TideRedoPage))
		ereport(FATAL, (errmsg("a batch of %u pages does not fit the redo ring", count)));

	for (uint32 i = 0; i < count; i++)
	{
		PG_TRY();
		{
			redo_apply_page(ring, ring_bytes, &pages[i]);
		}
		PG_CATCH();
		{
			/* Pins, locks and half-changed buffers are left: report, and let a fresh process go on. */
			MemoryContextSwitchTo(TopMemoryContext);
			report_error(&pages[i]);
			EmitErrorReport();
			header->done_pages = i + 1;
			__atomic_store_n(&header->state, TIDE_REDO_ENDED, __ATOMIC_RELEASE);
			_exit(3);
		}
		PG_END_TRY();
		__atomic_store_n(&header->done_pages, i + 1, __ATOMIC_RELEASE);
	}
}

static void
end_without_parent(void)
{
	if (getppid() != (pid_t) header->parent_pid)
		_exit(0);
}

static void
serve(void)
{
	struct timespec patience = {PARENT_CHECK_SECONDS, 0};
	uint32		done = header->response;

	__atomic_store_n(&header->state, TIDE_REDO_SERVING, __ATOMIC_RELEASE);
	for (;;)
	{
		uint32		wanted = __atomic_load_n(&header->request, __ATOMIC_ACQUIRE);

		if (wanted == done)
		{
			if (syscall(SYS_futex, &header->request, FUTEX_WAIT, done, &patience, NULL, 0) < 0 &&
				errno == ETIMEDOUT)
				end_without_parent();
			continue;
		}
		serve_batch();
		done = wanted;
		__atomic_store_n(&header->response, done, __ATOMIC_RELEASE);
		syscall(SYS_futex, &header->response, FUTEX_WAKE, 1, NULL, NULL, 0);
	}
}

static void
take_over(void)
{
	become_startup_process();
	redo_apply_setup();
	end_without_parent();
	redo_enter_sandbox();
	serve();
}

void
tidewater_redo_init(void)
{
	DefineCustomIntVariable("tidewater.redo_fd",
							"Inherited descriptor of the redo ring.",
							NULL,
							&redo_fd, -1, -1, INT_MAX,
							PGC_POSTMASTER, 0, NULL, NULL, NULL);

	/* Against the pool's end; end_without_parent() covers the moment before this call. */
	if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0)
		ereport(FATAL, (errmsg("could not tie the redo helper to its pool: %m")));
	map_ring();
	redo_smgr_install();
	shmem_startup_hook = take_over;
}
