"""Memory of processes, and what the operating system keeps of files."""
import contextlib
import os
import pathlib
import re


def pss_bytes(pid):
    """Proportional set size: shared pages are divided by those who share them. 0 if it has ended."""
    with contextlib.suppress(OSError):
        found = re.search(r"^Pss:\s+(\d+) kB", pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text(), re.M)
        return int(found.group(1)) * 1024 if found else 0
    return 0


def cpu_seconds(pid):
    """Processor time of a process, all its threads, so far."""
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def peak_rss_bytes(pid):
    """The most memory it ever had resident."""
    return int(re.search(r"^VmHWM:\s+(\d+) kB", pathlib.Path(f"/proc/{pid}/status").read_text(), re.M).group(1)) * 1024


def idle_seconds():
    """Of all processors of the machine, since it started."""
    fields = pathlib.Path("/proc/stat").read_text().split("\n", 1)[0].split()
    return (int(fields[4]) + int(fields[5])) / os.sysconf("SC_CLK_TCK")


def descendants(pid):
    """The process and all below it."""
    children = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            with contextlib.suppress(OSError, IndexError):
                fields = pathlib.Path(f"/proc/{entry}/stat").read_text().rpartition(") ")[2].split()
                if fields[0] != "Z":
                    children.setdefault(int(fields[1]), []).append(int(entry))
    found = [pid]
    for parent in found:
        found += children.get(parent, [])
    return found


def drop_from_page_cache(directory):
    """Makes the kernel forget what it holds of the files in a directory. Needs no privilege but to read them."""
    os.sync()  # only clean pages can be dropped
    for folder, _, names in os.walk(directory):
        for name in names:
            with contextlib.suppress(OSError):
                file = os.open(os.path.join(folder, name), os.O_RDONLY)
                try:
                    os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
                finally:
                    os.close(file)
