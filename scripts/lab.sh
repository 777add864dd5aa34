#!/usr/bin/env bash
# `npm run lab`: sets the machine up, brings a cluster up, deploys the sample application, says what to try.
# Arguments go to `flatnet lab up`: npm run lab -- --nodes 5 --backend host-gw
set -euo pipefail
cd "$(dirname "$0")/.."
bash scripts/setup.sh lab
node dist/flatnet.js lab up "$@"

name=lab
for ((i = 1; i <= $#; i++)); do
  case ${!i} in
    --name) next=$((i + 1)) name=${!next} ;;
    --name=*) name=${!i#--name=} ;;
  esac
done
KUBECONFIG=$(node dist/flatnet.js lab kubeconfig --name "$name" --path)
export KUBECONFIG
kubectl=$(command -v kubectl || echo "$PWD/.cache/kubectl/1.33/kubectl")

echo 'deploying the sample application: examples/guestbook' >&2
"$kubectl" apply -f examples/guestbook/ >&2
for deployment in $("$kubectl" get deployments -o name); do
  "$kubectl" rollout status "$deployment" --timeout=60s >&2
done

node_ip=$("$kubectl" get nodes -o 'jsonpath={.items[0].status.addresses[?(@.type=="InternalIP")].address}')
node_port=$("$kubectl" get service guestbook-frontend -o 'jsonpath={.spec.ports[0].nodePort}')
cat <<NEXT

The cluster is up. Copy and paste:

  export KUBECONFIG=$KUBECONFIG
$([ "$kubectl" = "$(command -v kubectl)" ] || echo "  export PATH=${kubectl%/*}:\$PATH")
  kubectl get nodes -o wide
  kubectl get pods -A -o wide
  alias flatnet="node $PWD/dist/flatnet.js"
  flatnet lab exec --name $name outside -- curl -s http://$node_ip:$node_port/     # a node port, from outside the nodes
  kubectl scale deployment guestbook-api --replicas=5
  kubectl apply -f examples/netshoot.yaml && kubectl wait --for=condition=Ready pod/netshoot
  kubectl exec netshoot -- dig +search guestbook-api                  # cluster DNS
  kubectl exec netshoot -- curl -s http://guestbook-frontend/              # a Service by its name
  flatnet lab status --name $name
  flatnet lab down --name $name                                   # leaves no trace
NEXT
