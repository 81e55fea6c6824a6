/*
 * The postmaster's own files need no sync.
 */
#include "quick_start.h"

#include "postgres.h"

#include <pthread.h>

#include "miscadmin.h"

static bool configured;			/* the setting "fsync", as the children must have it */

/* In every child, before anything else runs there. */
static void
restore_in_child(void)
{
	enableFsync = configured;
}

void
tide_quick_start_install(void)
{
	int			refused;

	/* Without a postmaster the process that loads us is the one that writes WAL. */
	if (!IsPostmasterEnvironment || IsUnderPostmaster)
		return;
	configured = enableFsync;
	refused = pthread_atfork(NULL, NULL, restore_in_child);
	if (refused != 0)
		ereport(FATAL,
				(errcode(ERRCODE_OUT_OF_MEMORY),
				 errmsg("could not register what is due in new processes: %s", strerror(refused))));
	enableFsync = false;
}
