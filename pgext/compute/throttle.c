/*
 * Backpressure, and what is due at the end of a transaction.
 */
#include "throttle.h"

#include "postgres.h"

#include "access/xact.h"
#include "executor/instrument.h"
#include "feed.h"
#include "miscadmin.h"
#include "storage/proc.h"

#define WAL_UNIT 65536

/* One sleep is no longer than this; the rest is slept at the next occasion. */
#define LONGEST_SLEEP_US 20000
#define LARGEST_DEBT_US 2000000

static uint64 paid_wal_bytes;
static uint64 debt_us;

void
tide_throttle(void)
{
	uint64		us_per_unit = tide_feed_throttle_us();
	uint64		wal_bytes = pgWalUsage.wal_bytes;
	uint64		fresh = wal_bytes - paid_wal_bytes;
	uint64		sleep_us;

	if (us_per_unit == 0)
	{
		paid_wal_bytes = wal_bytes;
		debt_us = 0;
		return;
	}
	/* Auxiliary processes write what others must not wait for. */
	if (CritSectionCount > 0 || MyProc == NULL || MyProc->backendId == InvalidBackendId)
		return;
	paid_wal_bytes = wal_bytes;
	debt_us = Min(debt_us + fresh * us_per_unit / WAL_UNIT, LARGEST_DEBT_US);
	if (debt_us < 1000)
		return;
	sleep_us = Min(debt_us, LONGEST_SLEEP_US);
	debt_us -= sleep_us;
	pg_usleep(sleep_us);
}

static void
at_transaction_end(XactEvent event, void *argument)
{
	switch (event)
	{
		case XACT_EVENT_PRE_COMMIT:
		case XACT_EVENT_PRE_PREPARE:
			tide_feed_check_fenced();
			/* The whole debt: between here and the client's next statement nobody waits for us. */
			while (tide_feed_throttle_us() != 0)
			{
				uint64		before = debt_us;

				tide_throttle();
				if (debt_us == 0 || debt_us >= before)
					break;
				CHECK_FOR_INTERRUPTS();
			}
			break;
		case XACT_EVENT_COMMIT:
		case XACT_EVENT_PREPARE:
			/* Before the client is answered: whoever hears of this commit finds it in the feed. */
			tide_feed_publish();
			break;
		default:
			break;
	}
}

void
tide_transaction_ends_install(void)
{
	RegisterXactCallback(at_transaction_end, NULL);
}
