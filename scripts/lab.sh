#!/usr/bin/env bash
# `npm run lab`: sets the machine up, brings a cluster up, deploys the sample application, says what to try.
# Arguments go to `flatnet lab up`: npm run lab -- --nodes 5 --backend host-gw
set -euo pipefail
cd "$(dirname "$0")/.."
case " $* " in
  *' --help '* | *' -h '*) [ -e dist/flatnet.js ] && exec node dist/flatnet.js lab up --help ;;
esac
bash scripts/setup.sh lab
node dist/flatnet.js lab up --no-hints "$@"

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
for deployment in $("$kubectl" get deployments -l app.kubernetes.io/part-of=guestbook -o name); do
  "$kubectl" rollout status "$deployment" --timeout=60s >&2
done

node_ip=$("$kubectl" get nodes -o 'jsonpath={.items[0].status.addresses[?(@.type=="InternalIP")].address}')
node_port=$("$kubectl" get service guestbook-frontend -o 'jsonpath={.spec.ports[0].nodePort}')
named=
[ "$name" = lab ] || named=" --name $name"
api="http://$node_ip:$node_port/api/messages"
try() { printf '  %s\n' "$@"; }
about() { printf '\n%s\n' "$1"; }

about 'The cluster is up. Copy and paste:'
try "export KUBECONFIG=$KUBECONFIG"
[ "$kubectl" = "$(command -v kubectl)" ] || try "export PATH=${kubectl%/*}:\$PATH"
try "alias flatnet=\"node $PWD/dist/flatnet.js\"" "cd $PWD"
try 'kubectl get nodes -o wide' 'kubectl get pods -A -o wide'
about 'A node port, from outside of the nodes: "pod" says which of the API pods answered'
try "flatnet lab exec$named outside -- curl -sw '\\n' $api $api $api"
about 'Cluster DNS, and a Service by its name, from a pod with all tools'
try 'kubectl apply -f examples/netshoot.yaml && kubectl wait --for=condition=Ready pod/netshoot'
try 'kubectl exec netshoot -- dig +search +short guestbook-api'
try 'kubectl exec netshoot -- curl -s http://guestbook-api/api/messages'
about 'The Service follows its pods'
try 'kubectl scale deployment guestbook-api --replicas=5 && kubectl rollout status deployment guestbook-api'
try 'kubectl get endpointslices -l kubernetes.io/service-name=guestbook-api'
about 'What Flatnet has put into the kernel of a node'
try "flatnet lab exec$named node-1 -- ip route"
try "flatnet lab exec$named node-1 -- nft list tables"
about 'State of the lab; its end, which leaves no trace'
try "flatnet lab status$named" "flatnet lab down$named"
