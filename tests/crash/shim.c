/*
 * Writes down, in order, what a process does to the files of one directory, and ends it at a
 * chosen fsync. Preloaded (LD_PRELOAD) by the crash tests, which read the trace afterwards.
 *
 *   CMR_CRASH_DIR    the directory; what happens below it is recorded
 *   CMR_CRASH_TRACE  the file that the records are appended to
 *   CMR_CRASH_AT     k: _exit(134) immediately before the k-th fsync or fdatasync below it
 *   CMR_CRASH_AFTER  k: _exit(134) right after the k-th
 *
 * A write and its record, and an acknowledgement and its record, are one step under one lock,
 * so the order of the trace is the order of the world. A sync is two records, its begin and its
 * end, with the lock free between them: what is written meanwhile is not covered by it.
 *
 * An acknowledgement is anything written to a socket that holds "250 2.0.0"; it is recorded
 * before it leaves, so whoever has seen one finds it in the trace.
 *
 * What would change a file behind the recorder's back (a shared writable mapping, a copy within
 * the kernel, fallocate) is recorded as unmodelled; a trace that holds one proves nothing, and
 * its reader must refuse it. The -shm file of a database is left out: it is rebuilt by
 * whoever opens the database first.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

enum kind {
    K_CREATE = 1,     /* path                                    */
    K_WRITE = 2,      /* path, a = offset, data                  */
    K_TRUNCATE = 3,   /* path, a = length                        */
    K_SYNC_BEGIN = 4, /* path, a = serial number of the sync     */
    K_SYNC_END = 5,   /* path, a = serial number of the sync     */
    K_UNLINK = 6,     /* path                                    */
    K_RENAME = 7,     /* path, data = new path                   */
    K_ACK = 8,        /* data = payload                          */
    K_CRASH = 9,      /* path, a = serial number of the sync     */
    K_UNMODELLED = 10,/* path, data = what                       */
    K_MKDIR = 11,     /* path                                    */
    K_RMDIR = 12      /* path                                    */
};

struct head {
    uint32_t kind, path_length;
    uint64_t a, data_length;
};

static char dir[PATH_MAX];
static size_t dir_length;
static int trace_fd = -1;
static long crash_at, crash_after;
static unsigned long syncs;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

#define REAL(name) ((__typeof__(&name))real(#name))
static void *real(const char *name)
{
    void *found = dlsym(RTLD_NEXT, name);
    if (!found) {
        static const char message[] = "crash shim: a function is missing from libc\n";
        syscall(SYS_write, 2, message, sizeof message - 1);
        _exit(135);
    }
    return found;
}

__attribute__((constructor)) static void begin(void)
{
    const char *d = getenv("CMR_CRASH_DIR"), *t = getenv("CMR_CRASH_TRACE"), *k;
    if (!d || !t || !realpath(d, dir))
        return;
    dir_length = strlen(dir);
    if ((k = getenv("CMR_CRASH_AT")))
        crash_at = atol(k);
    if ((k = getenv("CMR_CRASH_AFTER")))
        crash_after = atol(k);
    int fd = (int)syscall(SYS_openat, AT_FDCWD, t, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (fd < 0)
        _exit(135);
    /* Out of the way of programs that close what they did not open. */
    trace_fd = (int)syscall(SYS_fcntl, fd, F_DUPFD_CLOEXEC, 700);
    if (trace_fd < 0)
        _exit(135);
    syscall(SYS_close, fd);
}

/* One append, so records of several processes do not mix. */
static void record(enum kind kind, const char *path, uint64_t a, const void *data, size_t length)
{
    struct head head = {kind, (uint32_t)strlen(path), a, length};
    struct iovec parts[3] = {
        {&head, sizeof head}, {(void *)path, head.path_length}, {(void *)data, length}};
    size_t whole = sizeof head + head.path_length + length;
    int saved = errno;
    if ((size_t)syscall(SYS_writev, trace_fd, parts, 3) != whole) {
        static const char message[] = "crash shim: the trace can't be written\n";
        syscall(SYS_write, 2, message, sizeof message - 1);
        _exit(135);
    }
    errno = saved;
}

static int ends_with(const char *text, const char *end)
{
    size_t a = strlen(text), b = strlen(end);
    return a >= b && !strcmp(text + a - b, end);
}

/* The path below the directory, or NULL when this is none of ours. */
static const char *ours(const char *path)
{
    if (strncmp(path, dir, dir_length))
        return NULL;
    if (!path[dir_length])
        return ".";
    if (path[dir_length] != '/')
        return NULL;
    path += dir_length + 1;
    return ends_with(path, "-shm") || ends_with(path, " (deleted)") ? NULL : path;
}

static const char *ours_by_fd(int fd, char *buffer)
{
    char link[64];
    if (trace_fd < 0)
        return NULL;
    int saved = errno;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t n = syscall(SYS_readlinkat, AT_FDCWD, link, buffer, PATH_MAX - 1);
    errno = saved;
    if (n <= 0 || buffer[0] != '/')
        return NULL;
    buffer[n] = 0;
    return ours(buffer);
}

/* The parent is resolved, the last component is not: it may not exist (any more). */
static const char *ours_by_name(int at, const char *name, char *buffer)
{
    char parent[PATH_MAX], joined[PATH_MAX];
    if (trace_fd < 0 || !name)
        return NULL;
    int saved = errno;
    if (name[0] != '/' && at != AT_FDCWD) {
        char link[64], base[PATH_MAX];
        snprintf(link, sizeof link, "/proc/self/fd/%d", at);
        ssize_t n = syscall(SYS_readlinkat, AT_FDCWD, link, base, sizeof base - 1);
        if (n <= 0)
            goto none;
        base[n] = 0;
        if ((size_t)snprintf(joined, sizeof joined, "%s/%s", base, name) >= sizeof joined)
            goto none;
    } else if ((size_t)snprintf(joined, sizeof joined, "%s", name) >= sizeof joined) {
        goto none;
    }
    char *slash = strrchr(joined, '/');
    const char *last = slash ? slash + 1 : joined;
    char above[PATH_MAX];
    if (!slash)
        strcpy(above, ".");
    else if (slash == joined)
        strcpy(above, "/");
    else
        snprintf(above, sizeof above, "%.*s", (int)(slash - joined), joined);
    if (!realpath(above, parent))
        goto none;
    if ((size_t)snprintf(buffer, PATH_MAX, "%s/%s", strcmp(parent, "/") ? parent : "", last)
        >= PATH_MAX)
        goto none;
    errno = saved;
    return ours(buffer);
none:
    errno = saved;
    return NULL;
}

static void unmodelled_fd(int fd, const char *what)
{
    char buffer[PATH_MAX];
    struct stat s;
    const char *path = ours_by_fd(fd, buffer);
    if (path && !fstat(fd, &s) && S_ISREG(s.st_mode)) {
        pthread_mutex_lock(&lock);
        record(K_UNMODELLED, path, 0, what, strlen(what));
        pthread_mutex_unlock(&lock);
    }
}

/* ---- opening ---- */

static int open_recorded(int (*open_it)(int, const char *, int, mode_t), int at, const char *name,
                         int flags, mode_t mode)
{
    char buffer[PATH_MAX];
    const char *path = NULL;
    if ((flags & (O_CREAT | O_TRUNC)) && (flags & O_TMPFILE) != O_TMPFILE)
        path = ours_by_name(at, name, buffer);
    if (!path)
        return open_it(at, name, flags, mode);
    struct stat s;
    pthread_mutex_lock(&lock);
    int saved = errno;
    int existed = !fstatat(at, name, &s, 0);
    errno = saved;
    int fd = open_it(at, name, flags, mode);
    if (fd >= 0 && !existed)
        record(K_CREATE, path, 0, "", 0);
    else if (fd >= 0 && (flags & O_TRUNC) && s.st_size)
        record(K_TRUNCATE, path, 0, "", 0);
    pthread_mutex_unlock(&lock);
    return fd;
}

static int plain_openat(int at, const char *name, int flags, mode_t mode)
{
    return REAL(openat)(at, name, flags, mode);
}

#define MODE(flags, before)                          \
    mode_t mode = 0;                                 \
    if ((flags) & (O_CREAT | O_TMPFILE)) {           \
        va_list more;                                \
        va_start(more, before);                      \
        mode = (mode_t)va_arg(more, int);            \
        va_end(more);                                \
    }

int open(const char *name, int flags, ...)
{
    MODE(flags, flags)
    return open_recorded(plain_openat, AT_FDCWD, name, flags, mode);
}

int openat(int at, const char *name, int flags, ...)
{
    MODE(flags, flags)
    return open_recorded(plain_openat, at, name, flags, mode);
}

int creat(const char *name, mode_t mode)
{
    return open_recorded(plain_openat, AT_FDCWD, name, O_CREAT | O_WRONLY | O_TRUNC, mode);
}

/* ---- writing: files and acknowledgements ---- */

static int is_socket(int fd)
{
    struct stat s;
    int saved = errno;
    int yes = !fstat(fd, &s) && S_ISSOCK(s.st_mode);
    errno = saved;
    return yes;
}

/* Several buffers as one; the caller frees it. */
static char *gather(const struct iovec *parts, size_t count, size_t *length)
{
    size_t whole = 0, at = 0;
    for (size_t i = 0; i < count; i++)
        whole += parts[i].iov_len;
    char *data = malloc(whole ? whole : 1);
    if (!data)
        _exit(135);
    for (size_t i = 0; i < count; i++) {
        memcpy(data + at, parts[i].iov_base, parts[i].iov_len);
        at += parts[i].iov_len;
    }
    *length = whole;
    return data;
}

static void acknowledgement(int fd, const void *data, size_t length)
{
    if (trace_fd < 0 || !memmem(data, length, "250 2.0.0", 9) || !is_socket(fd))
        return;
    pthread_mutex_lock(&lock);
    record(K_ACK, "", 0, data, length);
    pthread_mutex_unlock(&lock);
}

static void acknowledgements(int fd, const struct iovec *parts, size_t count)
{
    if (trace_fd < 0 || !is_socket(fd))
        return;
    size_t length;
    char *data = gather(parts, count, &length);
    acknowledgement(fd, data, length);
    free(data);
}

/* offset < 0: where the file stands. */
static ssize_t write_recorded(int fd, const struct iovec *parts, int count, off64_t offset)
{
    char buffer[PATH_MAX];
    const char *path = ours_by_fd(fd, buffer);
    if (!path)
        return offset < 0 ? REAL(writev)(fd, parts, count)
                          : REAL(pwritev64)(fd, parts, count, offset);
    size_t length;
    char *data = gather(parts, (size_t)count, &length);
    pthread_mutex_lock(&lock);
    off64_t at = offset;
    int flags = REAL(fcntl)(fd, F_GETFL);
    if (flags & O_APPEND) {
        struct stat64 s;
        at = fstat64(fd, &s) ? 0 : s.st_size;
    } else if (offset < 0) {
        at = lseek64(fd, 0, SEEK_CUR);
    }
    ssize_t written = offset < 0 ? REAL(writev)(fd, parts, count)
                                 : REAL(pwritev64)(fd, parts, count, offset);
    if (written > 0)
        record(K_WRITE, path, (uint64_t)at, data, (size_t)written);
    if (written >= 0 && (flags & (O_SYNC | O_DSYNC)))
        record(K_UNMODELLED, path, 0, "O_SYNC", 6);
    pthread_mutex_unlock(&lock);
    free(data);
    return written;
}

ssize_t write(int fd, const void *data, size_t length)
{
    struct iovec part = {(void *)data, length};
    if (trace_fd < 0)
        return REAL(write)(fd, data, length);
    acknowledgement(fd, data, length);
    return write_recorded(fd, &part, 1, -1);
}

ssize_t writev(int fd, const struct iovec *parts, int count)
{
    acknowledgements(fd, parts, count < 0 ? 0 : (size_t)count);
    return write_recorded(fd, parts, count, -1);
}

ssize_t pwrite(int fd, const void *data, size_t length, off_t offset)
{
    struct iovec part = {(void *)data, length};
    return write_recorded(fd, &part, 1, offset);
}

ssize_t pwritev(int fd, const struct iovec *parts, int count, off_t offset)
{
    return write_recorded(fd, parts, count, offset);
}

ssize_t send(int fd, const void *data, size_t length, int flags)
{
    acknowledgement(fd, data, length);
    return REAL(send)(fd, data, length, flags);
}

ssize_t sendto(int fd, const void *data, size_t length, int flags, const struct sockaddr *to,
               socklen_t to_length)
{
    acknowledgement(fd, data, length);
    return REAL(sendto)(fd, data, length, flags, to, to_length);
}

ssize_t sendmsg(int fd, const struct msghdr *message, int flags)
{
    acknowledgements(fd, message->msg_iov, message->msg_iovlen);
    return REAL(sendmsg)(fd, message, flags);
}

/* ---- truncating ---- */

int ftruncate(int fd, off_t length)
{
    char buffer[PATH_MAX];
    const char *path = ours_by_fd(fd, buffer);
    if (!path)
        return REAL(ftruncate)(fd, length);
    pthread_mutex_lock(&lock);
    int done = REAL(ftruncate)(fd, length);
    if (!done)
        record(K_TRUNCATE, path, (uint64_t)length, "", 0);
    pthread_mutex_unlock(&lock);
    return done;
}

int truncate(const char *name, off_t length)
{
    char buffer[PATH_MAX];
    const char *path = ours_by_name(AT_FDCWD, name, buffer);
    if (!path)
        return REAL(truncate)(name, length);
    pthread_mutex_lock(&lock);
    int done = REAL(truncate)(name, length);
    if (!done)
        record(K_TRUNCATE, path, (uint64_t)length, "", 0);
    pthread_mutex_unlock(&lock);
    return done;
}

/* ---- syncing, and dying of it ---- */

static int sync_recorded(int fd, int (*sync_it)(int))
{
    char buffer[PATH_MAX];
    const char *path = ours_by_fd(fd, buffer);
    if (!path)
        return sync_it(fd);
    pthread_mutex_lock(&lock);
    unsigned long serial = ++syncs;
    if ((long)serial == crash_at) {
        record(K_CRASH, path, serial, "", 0);
        _exit(134);
    }
    record(K_SYNC_BEGIN, path, serial, "", 0);
    pthread_mutex_unlock(&lock);
    int done = sync_it(fd);
    pthread_mutex_lock(&lock);
    if (!done)
        record(K_SYNC_END, path, serial, "", 0);
    if ((long)serial == crash_after) {
        record(K_CRASH, path, serial, "", 0);
        _exit(134);
    }
    pthread_mutex_unlock(&lock);
    return done;
}

int fsync(int fd)
{
    return sync_recorded(fd, REAL(fsync));
}

int fdatasync(int fd)
{
    return sync_recorded(fd, REAL(fdatasync));
}

/* ---- names ---- */

int unlinkat(int at, const char *name, int flags)
{
    char buffer[PATH_MAX];
    const char *path = ours_by_name(at, name, buffer);
    if (!path)
        return REAL(unlinkat)(at, name, flags);
    pthread_mutex_lock(&lock);
    int done = REAL(unlinkat)(at, name, flags);
    if (!done)
        record(flags & AT_REMOVEDIR ? K_RMDIR : K_UNLINK, path, 0, "", 0);
    pthread_mutex_unlock(&lock);
    return done;
}

int unlink(const char *name)
{
    return unlinkat(AT_FDCWD, name, 0);
}

int rmdir(const char *name)
{
    return unlinkat(AT_FDCWD, name, AT_REMOVEDIR);
}

int remove(const char *name)
{
    struct stat s;
    if (lstat(name, &s))
        return -1;
    return unlinkat(AT_FDCWD, name, S_ISDIR(s.st_mode) ? AT_REMOVEDIR : 0);
}

int mkdirat(int at, const char *name, mode_t mode)
{
    char buffer[PATH_MAX];
    const char *path = ours_by_name(at, name, buffer);
    if (!path)
        return REAL(mkdirat)(at, name, mode);
    pthread_mutex_lock(&lock);
    int done = REAL(mkdirat)(at, name, mode);
    if (!done)
        record(K_MKDIR, path, 0, "", 0);
    pthread_mutex_unlock(&lock);
    return done;
}

int mkdir(const char *name, mode_t mode)
{
    return mkdirat(AT_FDCWD, name, mode);
}

int renameat2(int from_at, const char *from, int to_at, const char *to, unsigned flags)
{
    char from_buffer[PATH_MAX], to_buffer[PATH_MAX];
    const char *old = ours_by_name(from_at, from, from_buffer);
    const char *new = ours_by_name(to_at, to, to_buffer);
    if (!old && !new)
        return (int)syscall(SYS_renameat2, from_at, from, to_at, to, flags);
    pthread_mutex_lock(&lock);
    int done = (int)syscall(SYS_renameat2, from_at, from, to_at, to, flags);
    if (!done && old && new && !flags)
        record(K_RENAME, old, 0, new, strlen(new));
    else if (!done)
        record(K_UNMODELLED, old ? old : new, 0, "rename", 6);
    pthread_mutex_unlock(&lock);
    return done;
}

int renameat(int from_at, const char *from, int to_at, const char *to)
{
    return renameat2(from_at, from, to_at, to, 0);
}

int rename(const char *from, const char *to)
{
    return renameat2(AT_FDCWD, from, AT_FDCWD, to, 0);
}

int linkat(int from_at, const char *from, int to_at, const char *to, int flags)
{
    char buffer[PATH_MAX];
    const char *path = ours_by_name(to_at, to, buffer);
    int done = REAL(linkat)(from_at, from, to_at, to, flags);
    if (!done && path) {
        pthread_mutex_lock(&lock);
        record(K_UNMODELLED, path, 0, "link", 4);
        pthread_mutex_unlock(&lock);
    }
    return done;
}

int link(const char *from, const char *to)
{
    return linkat(AT_FDCWD, from, AT_FDCWD, to, 0);
}

/* ---- what goes past the recorder ---- */

void *mmap(void *address, size_t length, int protection, int flags, int fd, off_t offset)
{
    if (fd >= 0 && (flags & MAP_SHARED) && (protection & PROT_WRITE))
        unmodelled_fd(fd, "mmap");
    return (void *)syscall(SYS_mmap, address, length, protection, flags, fd, offset);
}

int fallocate(int fd, int mode, off_t offset, off_t length)
{
    unmodelled_fd(fd, "fallocate");
    return REAL(fallocate)(fd, mode, offset, length);
}

int posix_fallocate(int fd, off_t offset, off_t length)
{
    unmodelled_fd(fd, "posix_fallocate");
    return REAL(posix_fallocate)(fd, offset, length);
}

ssize_t copy_file_range(int in, off64_t *in_at, int out, off64_t *out_at, size_t length,
                        unsigned flags)
{
    unmodelled_fd(out, "copy_file_range");
    return REAL(copy_file_range)(in, in_at, out, out_at, length, flags);
}

ssize_t sendfile(int out, int in, off_t *offset, size_t length)
{
    unmodelled_fd(out, "sendfile");
    return ((ssize_t(*)(int, int, off_t *, size_t))real("sendfile"))(out, in, offset, length);
}

ssize_t splice(int in, off64_t *in_at, int out, off64_t *out_at, size_t length, unsigned flags)
{
    unmodelled_fd(out, "splice");
    return REAL(splice)(in, in_at, out, out_at, length, flags);
}

/* off_t has 64 bits here, so these are the same functions under other names. */
#define ALIAS(type, name, of, ...) type name(__VA_ARGS__) __attribute__((alias(#of)))
_Static_assert(sizeof(off_t) == sizeof(off64_t), "a 64-bit system is needed");
ALIAS(int, open64, open, const char *, int, ...);
ALIAS(int, openat64, openat, int, const char *, int, ...);
ALIAS(int, creat64, creat, const char *, mode_t);
ALIAS(ssize_t, pwrite64, pwrite, int, const void *, size_t, off64_t);
ALIAS(ssize_t, pwritev64, pwritev, int, const struct iovec *, int, off64_t);
ALIAS(int, ftruncate64, ftruncate, int, off64_t);
ALIAS(int, truncate64, truncate, const char *, off64_t);
ALIAS(int, fallocate64, fallocate, int, int, off64_t, off64_t);
ALIAS(int, posix_fallocate64, posix_fallocate, int, off64_t, off64_t);
ALIAS(ssize_t, sendfile64, sendfile, int, int, off64_t *, size_t);
ALIAS(void *, mmap64, mmap, void *, size_t, int, int, int, off64_t);
