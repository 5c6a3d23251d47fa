module github.com/alkimiadev/alknet-firewall

go 1.26
