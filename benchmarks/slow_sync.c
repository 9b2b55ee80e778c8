/* Makes every sync of a file take SLOW_SYNC_MS milliseconds longer, as on a slower disk. Loaded by LD_PRELOAD. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <time.h>

typedef int (*sync_function)(int);

static int synced(const char *name, int descriptor)
{
    int result = ((sync_function)dlsym(RTLD_NEXT, name))(descriptor);
    double seconds = atof(getenv("SLOW_SYNC_MS")) / 1e3;
    struct timespec longer = {(time_t)seconds, (long)((seconds - (time_t)seconds) * 1e9)};
    nanosleep(&longer, NULL);
    return result;
}

int fsync(int descriptor) { return synced("fsync", descriptor); }
int fdatasync(int descriptor) { return synced("fdatasync", descriptor); }
