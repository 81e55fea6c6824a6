/*
 * The compute's settings.
 */
#include "settings.h"

#include <limits.h>

#include "cache_map.h"
#include "utils/guc.h"

TideSettings tide_settings;

static bool
parse_epoch(const char *text, uint64 *epoch)
{
	char	   *end;

	if (text[0] < '0' || text[0] > '9')
		return false;
	errno = 0;
	*epoch = strtou64(text, &end, 10);
	return errno == 0 && *end == '\0';
}

static bool
parse_lsn(const char *text, XLogRecPtr *lsn)
{
	uint32		high;
	uint32		low;
	int			length = 0;

	if (sscanf(text, "%X/%X%n", &high, &low, &length) != 2 || text[length] != '\0')
		return false;
	*lsn = ((uint64) high << 32) | low;
	return true;
}

static bool
check_epoch(char **value, void **extra, GucSource source)
{
	uint64		epoch;

	if ((*value)[0] == '\0' || parse_epoch(*value, &epoch))
		return true;
	GUC_check_errdetail("An epoch is a decimal number.");
	return false;
}

static bool
check_start_lsn(char **value, void **extra, GucSource source)
{
	XLogRecPtr	lsn;

	if ((*value)[0] == '\0' || parse_lsn(*value, &lsn))
		return true;
	GUC_check_errdetail("An LSN looks like 16/B374D848.");
	return false;
}

/* What goes on, for SHOW and pg_settings. */

static int	shown;
static char shown_text[32];

static const char *
show_count(const pg_atomic_uint64 *count, uint64 unit)
{
	uint64		value = tide_map == NULL ? 0 : pg_atomic_read_u64((pg_atomic_uint64 *) count) * unit;

	snprintf(shown_text, sizeof(shown_text), UINT64_FORMAT, value);
	return shown_text;
}

static const char *
show_cache_used(void)
{
	return show_count(&tide_map->present_blocks, BLCKSZ / 1024);
}

static const char *
show_fetched(void)
{
	return show_count(&tide_map->fetched_blocks, 1);
}

static const char *
show_evicted(void)
{
	return show_count(&tide_map->evicted_blocks, 1);
}

static void
define_figure(const char *name, const char *description, GucShowHook show)
{
	DefineCustomIntVariable(name, description, "Read only.", &shown, 0, 0, INT_MAX,
							PGC_INTERNAL, GUC_NOT_IN_SAMPLE | GUC_DISALLOW_IN_FILE,
							NULL, NULL, show);
}

static void
require(bool given, const char *setting)
{
	if (!given)
		ereport(FATAL,
				(errcode(ERRCODE_CONFIG_FILE_ERROR),
				 errmsg("%s is not set", setting),
				 errdetail("A compute cannot find its pages without it."),
				 errhint("Computes are started by \"tide\", which gives all tidewater.* settings.")));
}

void
tide_settings_define(void)
{
	DefineCustomStringVariable("tidewater.page_socket",
							   "Unix socket of the page service.", NULL,
							   &tide_settings.page_socket, "",
							   PGC_POSTMASTER, 0, NULL, NULL, NULL);
	DefineCustomIntVariable("tidewater.timeline",
							"Timeline (branch) whose pages this compute serves.", NULL,
							&tide_settings.timeline, -1, -1, INT_MAX,
							PGC_POSTMASTER, 0, NULL, NULL, NULL);
	DefineCustomStringVariable("tidewater.epoch",
							   "Epoch of this compute; a newer one fences it.", NULL,
							   &tide_settings.epoch_text, "",
							   PGC_POSTMASTER, 0, check_epoch, NULL, NULL);
	DefineCustomStringVariable("tidewater.start_lsn",
							   "WAL position this compute was started at.", NULL,
							   &tide_settings.start_lsn_text, "",
							   PGC_POSTMASTER, 0, check_start_lsn, NULL, NULL);
	DefineCustomStringVariable("tidewater.feed_file",
							   "File shared with the storage in the local form of durability.",
							   "Empty where acceptors confirm commits.",
							   &tide_settings.feed_file, "",
							   PGC_POSTMASTER, 0, NULL, NULL, NULL);
	DefineCustomIntVariable("tidewater.cache_size",
							"Local disk for pages of permanent relations.",
							"0 means no limit. What WAL does not describe is kept beyond the limit.",
							&tide_settings.cache_size_kb, 0, 0, INT_MAX,
							PGC_SIGHUP, GUC_UNIT_KB, NULL, NULL, NULL);
	DefineCustomIntVariable("tidewater.cache_map_chunks",
							"How many 512 kB pieces of relations can be cached at once.",
							"Each takes about 150 bytes of shared memory.",
							&tide_settings.cache_map_chunks, 262144, 1024, 64 * 1024 * 1024,
							PGC_POSTMASTER, 0, NULL, NULL, NULL);

	define_figure("tidewater.cache_used_kb", "Local copies of permanent relations, in kB.",
				  show_cache_used);
	define_figure("tidewater.fetched_blocks", "Blocks fetched from the page store so far.",
				  show_fetched);
	define_figure("tidewater.evicted_blocks", "Blocks evicted from local disk so far.",
				  show_evicted);

	require(tide_settings.page_socket[0] != '\0', "tidewater.page_socket");
	require(tide_settings.timeline >= 0, "tidewater.timeline");
	require(parse_epoch(tide_settings.epoch_text, &tide_settings.epoch), "tidewater.epoch");
	require(parse_lsn(tide_settings.start_lsn_text, &tide_settings.start_lsn), "tidewater.start_lsn");
}
