#!/bin/sh
# Fetches promtool, Prometheus and Alertmanager as Debian has them, and unpacks them into .devstack/tools of the project's
# folder. Nothing is installed, no service is started, and root is not needed.
set -eu
cd "$(dirname "$0")/../.."
command -v apt-get > /dev/null || { echo "There is no apt-get: put promtool, prometheus and prometheus-alertmanager into PATH." >&2; exit 1; }
mkdir -p .devstack/tools
cd .devstack/tools
apt-get download prometheus prometheus-alertmanager
for package in prometheus_*.deb prometheus-alertmanager_*.deb; do
    dpkg -x "$package" .
    rm "$package"
done
echo "promtool, prometheus and prometheus-alertmanager are in .devstack/tools/usr/bin."
