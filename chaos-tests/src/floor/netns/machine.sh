# A Debian machine in namespaces of its own: an overlay of this machine's root, with a systemd as its
# process 1. Run by machine.rs under unshare; $1 is its name, $2 a directory that it sees as /media/lab.
# What it writes lies in a tmpfs and goes with it. /mnt is hidden for it alone.
set -eu
name="$1" lab="$2" root=/mnt/root
mount -t tmpfs tmpfs /mnt
mkdir /mnt/upper /mnt/work "$root"
mount -t overlay overlay -o lowerdir=/,upperdir=/mnt/upper,workdir=/mnt/work "$root"
mount -t proc proc "$root/proc"
mount -t sysfs -o ro sysfs "$root/sys"
for dir in run tmp dev home root; do mount -t tmpfs -o mode=755 tmpfs "$root/$dir"; done
chmod 1777 "$root/tmp"
chmod 700 "$root/root"
for device in null zero full random urandom tty; do
    : > "$root/dev/$device"
    mount --bind "/dev/$device" "$root/dev/$device"
done
mkdir "$root/dev/pts" "$root/dev/shm"
mount -t devpts -o newinstance,ptmxmode=666 devpts "$root/dev/pts"
ln -s pts/ptmx "$root/dev/ptmx"
ln -s /proc/self/fd "$root/dev/fd"
mount -t tmpfs tmpfs "$root/sys/fs/cgroup"
mount -t cgroup2 cgroup2 "$root/sys/fs/cgroup"
mkdir -p "$root/media/lab"
mount --bind "$lab" "$root/media/lab"

# Of the services of this machine none is wanted there, but the journal.
cd "$root"
rm -rf etc/systemd/system/* lib/systemd/system/*.wants/* etc/leasehold var/lib/leasehold
ln -s ../systemd-journald.service lib/systemd/system/sysinit.target.wants/
ln -s ../dbus.socket lib/systemd/system/sockets.target.wants/
echo "$name" > etc/hostname
printf '127.0.0.1 localhost\n127.0.1.1 %s\n' "$name" > etc/hosts
hostname "$name"
exec env -i container=leasehold-lab PATH=/usr/sbin:/usr/bin:/sbin:/bin \
    SYSTEMD_PROC_CMDLINE='systemd.unified_cgroup_hierarchy=1 systemd.unit=multi-user.target' \
    chroot "$root" /lib/systemd/systemd --log-target=console --show-status=no
