module github.com/alkimiadev/alknet-firewall

go 1.26.0

require golang.org/x/sys v0.49.0
