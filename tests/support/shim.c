/* Stands between the daemon and the disk: while the file named by CMR_TEST_DISK exists, its first
 * letter says how the disk under CMR_TEST_DIR fails. F: full, every write of it has no room.
 * E: broken, every write of it fails. S: every sync of it fails. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

static int trouble(int fd)
{
    const char *marker = getenv("CMR_TEST_DISK"), *dir = getenv("CMR_TEST_DIR");
    char link[64], path[4096], kind = 0;
    if (!marker || !dir)
        return 0;
    int file = open(marker, O_RDONLY | O_CLOEXEC);
    if (file < 0)
        return 0;
    if (read(file, &kind, 1) != 1)
        kind = 0;
    close(file);
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length < 0)
        return 0;
    path[length] = 0;
    return strncmp(path, dir, strlen(dir)) == 0 ? kind : 0;
}

static int fails_to_write(int fd)
{
    switch (trouble(fd)) {
    case 'F': errno = ENOSPC; return 1;
    case 'E': errno = EIO; return 1;
    default: return 0;
    }
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

ssize_t write(int fd, const void *from, size_t size)
{
    return fails_to_write(fd) ? -1 : REAL(write)(fd, from, size);
}

ssize_t pwrite(int fd, const void *from, size_t size, off_t at)
{
    return fails_to_write(fd) ? -1 : REAL(pwrite)(fd, from, size, at);
}

ssize_t pwrite64(int fd, const void *from, size_t size, off64_t at)
{
    return fails_to_write(fd) ? -1 : REAL(pwrite64)(fd, from, size, at);
}

int fsync(int fd)
{
    if (trouble(fd) == 'S') { errno = EIO; return -1; }
    return REAL(fsync)(fd);
}

int fdatasync(int fd)
{
    if (trouble(fd) == 'S') { errno = EIO; return -1; }
    return REAL(fdatasync)(fd);
}
