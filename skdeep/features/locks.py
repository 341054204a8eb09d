"""Locks between processes that the system takes back when their holder ends, however it ends."""

try:
    import fcntl
except ImportError:  # Windows
    import msvcrt

    FAR = 2**62  # of a byte that is locked in place of the file, whose bytes stay readable

    def try_lock(descriptor):
        """Whether the open file is ours now, until it is closed."""
        import os

        place = os.lseek(descriptor, 0, os.SEEK_CUR)
        try:
            os.lseek(descriptor, FAR, os.SEEK_SET)
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
            return True
        except OSError:
            return False
        finally:
            os.lseek(descriptor, place, os.SEEK_SET)

else:

    def try_lock(descriptor):
        """Whether the open file is ours now, until it is closed."""
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except OSError:  # another has it, or the file system has no locks
            return False
