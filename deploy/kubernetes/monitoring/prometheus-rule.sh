#!/bin/sh
# Prints the alerts of deploy/prometheus/rules.yml as the Prometheus operator takes them:
#   sh deploy/kubernetes/monitoring/prometheus-rule.sh > deploy/kubernetes/monitoring/prometheus-rule.yaml
set -eu
cat << 'HEAD'
# Made by prometheus-rule.sh; change deploy/prometheus/rules.yml instead.
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata:
  name: balance-sync
spec:
HEAD
sed -n '/^groups:/,$s/^/  /p' "$(dirname "$0")/../../prometheus/rules.yml"
