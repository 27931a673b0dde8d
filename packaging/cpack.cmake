# SPDX-License-Identifier: Apache-2.0
# The Debian package: cmake --build build/release --target package. Included by install.cmake, whose `installed` and
# `lists` it uses.
set(CPACK_GENERATOR DEB)
set(CPACK_PACKAGE_NAME sallyport)
set(CPACK_PACKAGE_VENDOR Sallyport)
set(CPACK_PACKAGE_CONTACT "Sallyport maintainers <sallyport@example.org>")
set(CPACK_PACKAGE_DESCRIPTION_SUMMARY "forward HTTP proxy that corporate IT runs as its egress")
set(CPACK_PACKAGE_DESCRIPTION
  "Sallyport carries CONNECT tunnels and http:// requests out of a company network. It decides by rules over
lists of names that people can read, says which line decided, and carries what must not be opened (apps
that pin their certificates, such as Cisco Spark) byte for byte. It is split into small processes that can
do only their own job.
.
It listens on 127.0.0.1:3128 until its configuration in /etc/sallyport says otherwise.")
set(CPACK_STRIP_FILES ON)
set(CPACK_SET_DESTDIR ON) # /etc is outside the prefix, which is this, whatever the build's is:
set(CPACK_INSTALL_PREFIX /usr)

set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_PACKAGE_RELEASE 1)
set(CPACK_DEBIAN_PACKAGE_SECTION net)
set(CPACK_DEBIAN_PACKAGE_PRIORITY optional)
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS ON)
set(CPACK_DEBIAN_PACKAGE_DEPENDS "adduser, ca-certificates, init-system-helpers (>= 1.54~)")
set(CPACK_DEBIAN_PACKAGE_RECOMMENDS "logrotate, tzdata")
set(CPACK_DEBIAN_PACKAGE_CONTROL_STRICT_PERMISSION ON)

# dpkg asks before it replaces one of these after it was changed.
set(conffiles "${SALLYPORT_CONF_DIR}/sallyport.yaml\n${SALLYPORT_CONF_DIR}/policy.yaml\n/etc/logrotate.d/sallyport\n")
foreach(list IN LISTS lists)
  get_filename_component(name ${list} NAME)
  string(APPEND conffiles "${SALLYPORT_CONF_DIR}/lists/${name}\n")
endforeach()
file(WRITE ${installed}/conffiles "${conffiles}")

set(deb ${CMAKE_CURRENT_LIST_DIR}/deb)
set(CPACK_DEBIAN_PACKAGE_CONTROL_EXTRA ${installed}/conffiles ${deb}/postinst ${deb}/prerm ${deb}/postrm)

string(TIMESTAMP now "%a, %d %b %Y %H:%M:%S +0000" UTC) # SOURCE_DATE_EPOCH, if it is set
file(WRITE ${installed}/changelog.Debian
  "sallyport (${PROJECT_VERSION}-${CPACK_DEBIAN_PACKAGE_RELEASE}) unstable; urgency=medium\n\n"
  "  * Built from the sources of version ${PROJECT_VERSION}.\n\n -- ${CPACK_PACKAGE_CONTACT}  ${now}\n")
execute_process(COMMAND ${GZIP_PROGRAM} -9nf ${installed}/changelog.Debian COMMAND_ERROR_IS_FATAL ANY)
install(FILES ${installed}/changelog.Debian.gz ${deb}/copyright DESTINATION ${CMAKE_INSTALL_DOCDIR})

include(CPack)
