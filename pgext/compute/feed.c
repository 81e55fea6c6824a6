/*
 * The feed between compute and storage.
 */
#include "feed.h"

#include <fcntl.h>
#include <limits.h>
#include <linux/futex.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "access/xlog.h"
#include "contracts/feed.h"
#include "miscadmin.h"
#include "settings.h"

static TideFeed *feed;

void
tide_feed_map(void)
{
	const char *path = tide_settings.feed_file;
	struct stat status;
	void	   *mapped;
	int			file;

	if (path[0] == '\0')
		return;

	file = open(path, O_RDWR | O_CLOEXEC, 0);
	if (file < 0 || fstat(file, &status) != 0)
		ereport(FATAL,
				(errcode_for_file_access(),
				 errmsg("could not open tidewater.feed_file \"%s\": %m", path)));
	if (status.st_size < TIDE_FEED_SIZE)
		ereport(FATAL,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg("tidewater.feed_file \"%s\" is too short", path),
				 errdetail("It has %lld bytes; a feed has %u.",
						   (long long) status.st_size, TIDE_FEED_SIZE)));
	mapped = mmap(NULL, TIDE_FEED_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
	if (mapped == MAP_FAILED)
		ereport(FATAL,
				(errcode(ERRCODE_SYSTEM_ERROR),
				 errmsg("could not map tidewater.feed_file \"%s\": %m", path)));
	close(file);

	feed = mapped;
	if (feed->magic != TIDE_FEED_MAGIC || feed->version != TIDE_FEED_VERSION ||
		feed->epoch != tide_settings.epoch)
		ereport(FATAL,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg("tidewater.feed_file \"%s\" is not for this compute", path),
				 errdetail("It has magic %X, version %u, epoch " UINT64_FORMAT "; expected %X, %u, "
						   UINT64_FORMAT ".",
						   feed->magic, feed->version, feed->epoch,
						   TIDE_FEED_MAGIC, TIDE_FEED_VERSION, tide_settings.epoch)));
	/* Started too late: the epoch may have ended already, with all WAL that counts. */
	tide_feed_check_fenced();
}

void
tide_feed_publish(void)
{
	uint64		flushed;
	uint64		published;

	if (feed == NULL)
		return;
	flushed = GetFlushRecPtr(NULL);
	published = __atomic_load_n(&feed->flush_lsn, __ATOMIC_RELAXED);
	while (published < flushed &&
		   !__atomic_compare_exchange_n(&feed->flush_lsn, &published, flushed, true,
										__ATOMIC_SEQ_CST, __ATOMIC_RELAXED))
		;
	/* Whoever counted itself later than this looks at flush_lsn later, too. */
	if (published < flushed && __atomic_load_n(&feed->waiters, __ATOMIC_SEQ_CST) != 0)
	{
		__atomic_fetch_add(&feed->signal, 1, __ATOMIC_SEQ_CST);
		(void) syscall(SYS_futex, &feed->signal, FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
	}
}

uint64
tide_feed_throttle_us(void)
{
	return feed == NULL ? 0 : __atomic_load_n(&feed->throttle_us, __ATOMIC_RELAXED);
}

bool
tide_feed_is_fenced(void)
{
	return feed != NULL && __atomic_load_n(&feed->fenced, __ATOMIC_ACQUIRE) != 0;
}

void
tide_feed_check_fenced(void)
{
	if (unlikely(tide_feed_is_fenced()))
		tide_end_fenced("The feed says so.");
}

void
tide_end_fenced(const char *who_says)
{
	/* Logged first: behind the signal, this process may not come to it. */
	ereport(LOG,
			(errmsg("this compute was fenced by a newer one"),
			 errdetail("Its epoch is " UINT64_FORMAT ". %s", tide_settings.epoch, who_says)));
	/* No backend of this server may go on: what it reads from its cache may be stale. */
	if (IsUnderPostmaster)
		kill(PostmasterPid, SIGQUIT);
	ereport(FATAL,
			(errcode(ERRCODE_ADMIN_SHUTDOWN),
			 errmsg("this compute was fenced by a newer one")));
	pg_unreachable();
}
