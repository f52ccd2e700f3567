# The first process of a node: lays its file system and becomes its systemd. It runs in mount, pid,
# network, UTS, IPC and control group namespaces of its own; whatever it mounts goes with them.
#
# sh init.sh ROOT FILES BUCKET WORK
#   ROOT    a Debian
#   FILES   what this node has besides, laid over it
#   BUCKET  the folder that is /bucket in the node
#   WORK    an empty folder to mount on
set -eu
root=$1 files=$2 bucket=$3 work=$4

mount --make-rprivate /
mount -t tmpfs -o mode=0755 node "$work"
mkdir "$work/upper" "$work/work" "$work/root"
layers=lowerdir=$files:$root,upperdir=$work/upper,workdir=$work/work
mount -t overlay -o "$layers" overlay "$work/root"
cd "$work/root"

mount -t proc -o nosuid,nodev,noexec proc proc
# The kernel's settings are the machine's; only those of the network are the node's own.
mount --bind proc/sys proc/sys
mount --bind proc/sys/net proc/sys/net
mount -o remount,bind,ro proc/sys
mount -t sysfs -o ro,nosuid,nodev,noexec sysfs sys
mount -t cgroup2 -o nosuid,nodev,noexec,nsdelegate cgroup2 sys/fs/cgroup
mount -t tmpfs -o mode=0755,nosuid dev dev
for node in null zero full random urandom tty; do
  touch dev/$node
  mount --bind /dev/$node dev/$node
done
mkdir dev/pts dev/shm
mount -t devpts -o newinstance,ptmxmode=0666,mode=620,gid=5 devpts dev/pts
ln -s pts/ptmx dev/ptmx
ln -s /proc/self/fd dev/fd
mount -t tmpfs -o mode=1777,nosuid,nodev shm dev/shm
mount -t tmpfs -o mode=0755,nosuid,nodev run run
mount -t tmpfs -o mode=1777 tmp tmp
mkdir bucket
mount --bind "$bucket" bucket

mkdir old
pivot_root . old
umount -l old
rmdir old
# systemd(1): `container` says that there is no hardware to look after.
exec env -i container=engineer-tests PATH=/usr/sbin:/usr/bin:/sbin:/bin \
  setpriv --bounding-set=-sys_module,-sys_rawio,-sys_time,-syslog,-mac_admin \
  /lib/systemd/systemd --system --show-status=no
