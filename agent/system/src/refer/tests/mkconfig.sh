#!/bin/sh
# usage: mkconfig.sh make|again IMAGE FOLDER UUID
# Prints what grub-mkconfig writes for an ext4 with this UUID. `make` makes the file system, `again` gives it the UUID.
set -eu
step=$1 image=$2 root=$3 uuid=$4
if [ "$step" = make ]; then
    truncate -s 64M "$image"
    mke2fs -q -F -t ext4 -U "$uuid" "$image"
    mkdir "$root"
else
    e2fsck -fp "$image" >/dev/null
    tune2fs -U "$uuid" "$image" >/dev/null
fi
# Other tests take free devices at the same time.
for _ in 1 2 3 4 5 6 7 8 9; do
    device=$(losetup -f --show "$image") && break
    sleep 0.2
done
trap 'umount "$root" || true; losetup -d "$device"' EXIT
mount "$device" "$root"
if [ "$step" = make ]; then
    (cd "$root" && mkdir -p boot/grub usr etc/grub.d etc/default dev proc sys tmp)
    for link in bin lib lib64 sbin; do ln -s "usr/$link" "$root/$link"; done
    head -c 100000 /dev/urandom >"$root/boot/vmlinuz-6.1.0-1-amd64"
    echo x >"$root/boot/initrd.img-6.1.0-1-amd64"
    # It takes the file behind a loop device for the device.
    sed 's,/dev/loop,/dev/none,g' /etc/grub.d/10_linux >"$root/etc/grub.d/10_linux"
    cp /etc/grub.d/00_header "$root/etc/grub.d/"
    chmod 755 "$root"/etc/grub.d/*
    echo "(hd0) $image" >"$root/boot/grub/device.map"
fi
echo "GRUB_CMDLINE_LINUX_DEFAULT=\"quiet resume=UUID=$uuid\"" >"$root/etc/default/grub"
unshare -m sh -eu -c "
mount --make-rprivate /
mount --rbind /usr '$root/usr'
mount -t proc proc '$root/proc'
mount --rbind /sys '$root/sys'
mount -t tmpfs none '$root/dev'
cp -a /dev/null /dev/zero '$device' '$root/dev/'
mkdir -p '$root/dev/disk/by-uuid'
ln -s '$device' '$root/dev/disk/by-uuid/$uuid'
mount -t tmpfs none '$root/tmp'
mkdir -p '$root/$(dirname "$image")'
touch '$root/$image'
mount --bind '$image' '$root/$image'
chroot '$root' grub-mkconfig -o /boot/grub/grub.cfg
"
cat "$root/boot/grub/grub.cfg"
