# What docs/coming-from-isc-dhcpd.md takes for granted: the lease file of a dhcpd, copied to where cluster-ctl runs.
at() { date -u -d "@$(($(date +%s) + $1))" '+%w %Y/%m/%d %H:%M:%S'; }
cat > dhcpd.leases <<END
authoring-byte-order little-endian;
server-duid "\\000\\001\\000\\001.\\365\\207\\021\\002\\000\\000\\000\\000\\376";
lease 10.77.16.1 {
  starts $(at -3600);
  ends $(at 3600);
  cltt $(at -3600);
  binding state active;
  next binding state free;
  hardware ethernet 02:00:00:00:00:01;
  uid "\\001\\002\\000\\000\\000\\000\\001";
  client-hostname "Desk-1";
}
lease 10.77.16.2 {
  starts $(at -3600);
  ends $(at 72000);
  cltt $(at -3600);
  binding state abandoned;
}
lease 10.77.16.3 {
  starts $(at -7200);
  ends $(at -3600);
  cltt $(at -7200);
  binding state free;
  hardware ethernet 02:00:00:00:00:03;
}
lease 10.99.0.4 {
  starts $(at -3600);
  ends $(at 3600);
  cltt $(at -3600);
  binding state active;
  hardware ethernet 02:00:00:00:00:04;
}
END
