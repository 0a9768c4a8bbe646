#!/bin/sh
# Puts a built library where native libraries go. Called by `make install`, which has the defaults.
# BUILT DESTDIR PREFIX LIBDIR INCLUDEDIR VERSION ABI STATIC_LIBS
set -eu
[ $# = 8 ] || { echo "use make install" >&2; exit 2; }
built=$1 destdir=$2 prefix=$3 libdir=$4 includedir=$5 version=$6 abi=$7 static_libs=$8
here=$(dirname "$0")
for path in "$prefix" "$libdir" "$includedir"; do
    case $path in
        /*) ;;
        *) echo "$path is not absolute: kvs.pc would point nowhere" >&2; exit 2 ;;
    esac
done
cmakedir=$libdir/cmake/kvs

# Missing parents are made for everybody to read, whatever the umask of who installs.
umask 022
mkdir -p "$destdir$libdir/pkgconfig" "$destdir$cmakedir" "$destdir$includedir"

# Replaced, never written into: programs may be running from the old one.
put() {
    cp "$2" "$3.new"
    chmod "$1" "$3.new"
    mv -f "$3.new" "$3"
}
put 755 "$built/libkvs.so" "$destdir$libdir/libkvs.so.$version"
put 644 "$built/libkvs.a" "$destdir$libdir/libkvs.a"
ln -sf "libkvs.so.$version" "$destdir$libdir/libkvs.so.$abi"
ln -sf "libkvs.so.$abi" "$destdir$libdir/libkvs.so"
for header in kvs.h kvs.hpp; do
    put 644 "$here/../../../include/$header" "$destdir$includedir/$header"
done

# -lpthread -> pthread, with semicolons, as CMake lists things.
cmake_libs=$(echo "$static_libs" | sed 's/^-l//; s/ *-l/;/g; s/pthread/Threads::Threads/')
from_cmake=$(realpath -m --relative-to="$cmakedir" "$includedir")
fill() {
    sed -e "s|@PREFIX@|$prefix|g" -e "s|@LIBDIR@|$libdir|g" -e "s|@INCLUDEDIR@|$includedir|g" -e "s|@VERSION@|$version|g" \
        -e "s|@ABI@|$abi|g" -e "s|@MAJOR_MINOR@|${version%.*}|g" -e "s|@STATIC_LIBS@|$static_libs|g" \
        -e "s|@STATIC_LIBS_CMAKE@|$cmake_libs|g" -e "s|@INCLUDEDIR_FROM_CMAKE@|$from_cmake|g" "$here/$1.in" > "$2/$1"
    chmod 644 "$2/$1"
}
fill kvs.pc "$destdir$libdir/pkgconfig"
fill kvs-static.pc "$destdir$libdir/pkgconfig"
fill kvsConfig.cmake "$destdir$cmakedir"
fill kvsConfigVersion.cmake "$destdir$cmakedir"
