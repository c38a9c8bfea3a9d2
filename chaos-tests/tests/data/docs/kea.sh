# What docs/coming-from-kea.md takes for granted: the files of a Kea, copied to where cluster-ctl runs.
now=$(date +%s)
mkdir -p kea-files
cat > kea-files/kea-dhcp4.conf <<'END'
{ "Dhcp4": {
    "interfaces-config": { "interfaces": [ "eth0" ] },
    // Where they are is another matter now.
    "lease-database": { "type": "memfile", "name": "/var/lib/kea/kea-leases4.csv", "lfc-interval": 3600 },
    "control-socket": { "socket-type": "unix", "socket-name": "/run/kea/kea4-ctrl-socket" },
    "valid-lifetime": 7200,
    "subnet4": [ {
        "id": 10, "subnet": "10.77.0.0/16", "pools": [ { "pool": "10.77.16.0 - 10.77.31.255" } ],
        "option-data": [ { "name": "routers", "data": "10.77.0.1" } ],
        "reservations": [ { "hw-address": "02:00:00:00:00:99", "ip-address": "10.77.0.20" } ]
    } ]
} }
END
head='address,hwaddr,client_id,valid_lifetime,expire,subnet_id,fqdn_fwd,fqdn_rev,hostname,state,user_context'
{
    echo "$head"
    echo "10.77.16.1,02:00:00:00:00:01,,7200,$((now + 100)),10,0,0,,0,"
    echo "10.77.16.2,02:00:00:00:00:02,01:02:00:00:00:00:02,7200,$((now + 5000)),10,0,0,desk-2,0,"
} > kea-files/kea-leases4.csv.2
{
    echo "$head"
    echo "10.77.16.1,02:00:00:00:00:01,,7200,$((now + 7000)),10,0,0,,0,"
    echo "10.77.16.3,02:00:00:00:00:03,,7200,$((now + 6000)),10,0,0,,1,"
    echo "10.77.16.4,02:00:00:00:00:04,,7200,$((now - 9000)),10,0,0,,0,"
    echo "10.99.0.5,02:00:00:00:00:05,,7200,$((now + 6000)),99,0,0,,0,"
} > kea-files/kea-leases4.csv
