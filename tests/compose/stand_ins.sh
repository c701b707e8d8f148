#!/bin/sh
# Makes a stand-in for an image that Dockerfile or docker-compose.yml names, out of Debian's packages, for a daemon of the
# test's own that reaches no registry. It tests our image, our compose file and our processes; not the others' images.
#
#   stand_ins.sh FOLDER python|postgres|redis|prometheus|alertmanager TAG
set -eu
folder=$1 kind=$2 tag=$3
here=$(dirname "$0")
mkdir -p "$folder/context"

# A root file system of Debian 12 with these packages, once for a folder.
root() {
    docker image inspect "stand-in:$1" > /dev/null 2>&1 && return
    [ -e "$folder/$1.tar" ] || {
        mmdebstrap --quiet --variant=minbase --include="$2" bookworm "$folder/new.tar" && mv "$folder/new.tar" "$folder/$1.tar"
    }
    docker import "$folder/$1.tar" "stand-in:$1" > /dev/null
}

if [ "$kind" = python ]; then
    root python python3,python3-venv,python3-pip,ca-certificates,procps
else
    root servers postgresql,redis-server,prometheus,prometheus-alertmanager,procps,ca-certificates,wget
fi
cp "$here/postgres/entrypoint.sh" "$folder/context/"
# Whom this machine trusts, the image's build trusts too: pip may be led over a proxy that ends TLS.
cp /etc/ssl/certs/ca-certificates.crt "$folder/context/"

case $kind in
    python) cat << 'END' ;;
FROM stand-in:python
COPY ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
ENV PIP_CERT=/etc/ssl/certs/ca-certificates.crt PIP_DISABLE_PIP_VERSION_CHECK=1
RUN ln -s /usr/bin/python3 /usr/local/bin/python
END
    postgres) cat << 'END' ;;
FROM stand-in:servers
COPY entrypoint.sh /entrypoint.sh
RUN mkdir -p /docker-entrypoint-initdb.d && ln -sf /usr/lib/postgresql/15/bin/* /usr/local/bin/
ENTRYPOINT ["sh", "/entrypoint.sh"]
CMD ["postgres"]
END
    redis) printf 'FROM stand-in:servers\nWORKDIR /data\n' ;;
    prometheus) cat << 'END' ;;
FROM stand-in:servers
RUN mkdir -p /prometheus && chown 65534:65534 /prometheus
ENTRYPOINT ["prometheus"]
END
    alertmanager) cat << 'END' ;;
FROM stand-in:servers
RUN mkdir -p /alertmanager && chown 65534:65534 /alertmanager
ENTRYPOINT ["prometheus-alertmanager"]
END
esac > "$folder/context/$kind.dockerfile"
docker build --quiet --tag "$tag" --file "$folder/context/$kind.dockerfile" "$folder/context" > /dev/null
