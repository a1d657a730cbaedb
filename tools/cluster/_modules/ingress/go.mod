module cluster/ingress

go 1.26.0
