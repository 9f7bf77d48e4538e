# Runs a Python program from standard input in a root of its own: system folders and interpreter read-only, /tmp in
# memory, no network, no process or file of anybody else, no capability. Says "ready" when all of this is so.
set -eu
root=$1 prefix=$2 interpreter=$3 memory=$4 seconds=$5
mount -t tmpfs -o size=64m,mode=755 tmpfs "$root"
cd "$root"
mkdir dev old proc tmp
bind() {
    mkdir -p ".$1"
    mount --bind "$1" ".$1"
    mount -o remount,bind,ro,nosuid,nodev ".$1"
}
bind /usr
for folder in bin lib lib32 lib64 sbin; do
    if [ -L "/$folder" ]; then ln -s "$(readlink "/$folder")" "$folder"; elif [ -d "/$folder" ]; then bind "/$folder"; fi
done
case $prefix in /usr | /usr/* | /bin | /) ;; *) bind "$prefix" ;; esac
for device in null zero urandom; do
    : >"dev/$device"
    mount --bind "/dev/$device" "dev/$device"
done
cat >tmp/program.py
mount -t proc proc proc
pivot_root . old
cd /
umount -l /old
# Its settings are of the whole system, and belong to root.
umount -l /proc
ulimit -v "$((memory * 1024))"
ulimit -t "$((seconds + 1))"
ulimit -f 65536
ulimit -n 64
ulimit -c 0
ulimit -p 512
cd /tmp
echo ready
exec setpriv --no-new-privs --inh-caps=-all --bounding-set=-all -- "$interpreter" -I -B program.py
