"""The system calls that a sandboxed program may not make, as a seccomp filter for `bwrap --seccomp`.

The filter lists what is denied, not what is allowed, since Python's own calls differ between versions and C libraries.
It denies calls newer than `NEWEST`, too. The program may start threads, but no process, which rules out fork bombs,
daemons and shells that outlive it. This file assembles the filter itself (classic BPF, `linux/filter.h`), so that no
machine needs libseccomp and its Python package.
"""

import errno
import platform
import struct

NEWEST = 450  # set_mempolicy_home_node, Linux 5.17; numbers from 424 up are the same on all architectures
CLONE_THREAD, AF_UNIX = 0x00010000, 1
# of linux/audit.h; a call made for another architecture (32-bit code on x86_64) has another value, and kills
ARCHITECTURES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}

# name: (number on x86_64, on aarch64); None where there is no such call
DENIED = {
    # new processes, and reaching into others
    "fork": (57, None),
    "vfork": (58, None),
    "ptrace": (101, 117),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "kcmp": (312, 272),
    "pidfd_getfd": (438, 438),
    # sockets: the network namespace is empty, but vsock and kernel crypto are in no namespace
    "socket": (41, 198),
    # memory that no limit counts
    "memfd_create": (319, 279),
    "memfd_secret": (447, 447),
    "shmget": (29, 194),
    "semget": (64, 190),
    "msgget": (68, 186),
    "mq_open": (240, 180),
    # namespaces and mounts
    "unshare": (272, 97),
    "setns": (308, 268),
    "mount": (165, 40),
    "umount2": (166, 39),
    "pivot_root": (155, 41),
    "chroot": (161, 51),
    "open_tree": (428, 428),
    "move_mount": (429, 429),
    "fsopen": (430, 430),
    "fsconfig": (431, 431),
    "fsmount": (432, 432),
    "fspick": (433, 433),
    "mount_setattr": (442, 442),
    "name_to_handle_at": (303, 264),
    "open_by_handle_at": (304, 265),
    # parts of the kernel with a record of escapes, which no computation needs
    "bpf": (321, 280),
    "perf_event_open": (298, 241),
    "userfaultfd": (323, 282),
    "io_uring_setup": (425, 425),
    "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427),
    "add_key": (248, 217),
    "request_key": (249, 218),
    "keyctl": (250, 219),
    "splice": (275, 76),
    "tee": (276, 77),
    "vmsplice": (278, 75),
    "fanotify_init": (300, 262),
    "modify_ldt": (154, None),
    # the machine itself; denied by lack of capabilities already
    "init_module": (175, 105),
    "finit_module": (313, 273),
    "delete_module": (176, 106),
    "kexec_load": (246, 104),
    "kexec_file_load": (320, 294),
    "reboot": (169, 142),
    "swapon": (167, 224),
    "swapoff": (168, 225),
    "acct": (163, 89),
    "quotactl": (179, 60),
    "syslog": (103, 116),
    "personality": (135, 92),
    "settimeofday": (164, 170),
    "clock_settime": (227, 112),
    "adjtimex": (159, 171),
    "clock_adjtime": (305, 266),
    "ioperm": (173, None),
    "iopl": (172, None),
}
# allowed in part: clone for threads only, socketpair for asyncio's pair of Unix sockets only
CLONE, SOCKETPAIR, CLONE3 = (56, 220), (53, 199), (435, 435)

_LOAD, _EQUAL, _GREATER, _BIT, _RETURN = 0x20, 0x15, 0x25, 0x45, 0x06  # BPF operations
_NUMBER, _ARCHITECTURE, _FIRST_ARGUMENT = 0, 4, 16  # offsets in struct seccomp_data (little-endian)
_ALLOW, _KILL = 0x7FFF0000, 0x80000000
_REFUSE, _NO_SUCH_CALL = 0x00050000 | errno.EPERM, 0x00050000 | errno.ENOSYS


def filter_program(machine: str | None = None) -> bytes:
    """The filter as an array of `struct sock_filter`, for this machine's architecture or the one named.

    Raises:
        KeyError: where the architecture is none of `ARCHITECTURES`.
    """
    machine = machine or platform.machine()
    which = list(ARCHITECTURES).index(machine) if machine in ARCHITECTURES else None
    if which is None:
        raise KeyError(machine)
    lines = [
        (_LOAD, 0, 0, _ARCHITECTURE),
        (_EQUAL, 1, 0, ARCHITECTURES[machine]),
        (_RETURN, 0, 0, _KILL),
        (_LOAD, 0, 0, _NUMBER),
        (_GREATER, 0, 1, NEWEST),  # also the numbers of the x32 interface
        (_RETURN, 0, 0, _NO_SUCH_CALL),
        # clone3 keeps its flags in memory, where no filter sees them; the C library then takes clone
        (_EQUAL, 0, 1, CLONE3[which]),
        (_RETURN, 0, 0, _NO_SUCH_CALL),
    ]
    for numbers in DENIED.values():
        number = numbers[which]
        if number is not None:
            lines += [(_EQUAL, 0, 1, number), (_RETURN, 0, 0, _REFUSE)]
    for call, test, value in ((CLONE, _BIT, CLONE_THREAD), (SOCKETPAIR, _EQUAL, AF_UNIX)):
        lines += [
            (_EQUAL, 0, 4, call[which]),
            (_LOAD, 0, 0, _FIRST_ARGUMENT),
            (test, 1, 0, value),
            (_RETURN, 0, 0, _REFUSE),
            (_RETURN, 0, 0, _ALLOW),
        ]
    lines.append((_RETURN, 0, 0, _ALLOW))
    return b"".join(struct.pack("<HBBI", *line) for line in lines)
