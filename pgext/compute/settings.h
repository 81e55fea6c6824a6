/*
 * The compute's settings (tidewater.*), as parsed at start.
 */
#ifndef TIDEWATER_COMPUTE_SETTINGS_H
#define TIDEWATER_COMPUTE_SETTINGS_H

#include "postgres.h"

#include "access/xlogdefs.h"

typedef struct TideSettings
{
	char	   *page_socket;	/* path of the page service's Unix socket */
	int			timeline;		/* Tidewater's timeline (branch), not PostgreSQL's */
	char	   *epoch_text;
	uint64		epoch;			/* of this compute; the page store refuses older ones */
	char	   *start_lsn_text;
	XLogRecPtr	start_lsn;		/* where this compute began: nothing older may be read */
	char	   *feed_file;		/* empty in the acceptor form of durability */
	int			cache_size_kb;	/* local copies of permanent relations; 0 = no limit */
	int			cache_map_chunks;	/* 512 kB pieces the cache map can describe */
} TideSettings;

extern TideSettings tide_settings;

/* Defines the settings and checks those a compute cannot do without. From _PG_init. */
extern void tide_settings_define(void);

#endif
