# SPDX-License-Identifier: Apache-2.0
# cmake --install: program, manual page, configuration, systemd unit, log rotation, documents. Included by the top.

# The program looks for its configuration there whatever the prefix is, so it goes there.
set(SALLYPORT_CONF_DIR /etc/sallyport CACHE PATH "Where the configuration is installed")
set(SALLYPORT_LOG_DIR /var/log/sallyport CACHE PATH "Where the installed configuration has the access log")
set(SALLYPORT_RUN_DIR /run/sallyport CACHE PATH "Where the installed configuration has the control socket")
set(SALLYPORT_STATE_DIR /var/lib/sallyport CACHE PATH "Where the installed configuration keeps what was counted")
set(installed ${CMAKE_CURRENT_BINARY_DIR}/installed)

# adapt(FROM TO old new...): copy FROM with each `old` replaced by its `new`; a text that is not there is an error, so
# that nothing is installed which does not fit its source any more.
function(adapt from to)
  set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${from})
  file(READ ${from} text)
  set(pairs ${ARGN})
  while(pairs)
    list(POP_FRONT pairs old new)
    string(FIND "${text}" "${old}" at)
    if(at EQUAL -1)
      message(FATAL_ERROR "${from} has no \"${old}\", which packaging/install.cmake replaces by \"${new}\"; mend one of them")
    endif()
    string(REPLACE "${old}" "${new}" text "${text}")
  endwhile()
  file(WRITE ${to}.new "${text}")
  file(COPY_FILE ${to}.new ${to} ONLY_IF_DIFFERENT)
endfunction()

# compressed(FROM TO): as Debian wants manual pages and the change log, always with the same bytes.
find_program(GZIP_PROGRAM gzip REQUIRED)
function(compressed from to)
  set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${from})
  execute_process(COMMAND ${GZIP_PROGRAM} -9nc ${from} OUTPUT_FILE ${to} COMMAND_ERROR_IS_FATAL ANY)
endfunction()

# naming(FILE): at the time of installing, when the prefix is known, write it beside itself with the program's path.
function(naming file)
  install(CODE "
    set(program \"${CMAKE_INSTALL_BINDIR}/sallyport\")
    cmake_path(ABSOLUTE_PATH program BASE_DIRECTORY \"\${CMAKE_INSTALL_PREFIX}\")
    file(READ \"${file}\" text)
    string(REPLACE \"%program%\" \"\${program}\" text \"\${text}\")
    get_filename_component(name \"${file}\" NAME)
    file(WRITE \"${file}.named/\${name}\" \"\${text}\")")
endfunction()

# keeping(FOLDER FILES...): install what is not there yet. What is there belongs to who runs the proxy.
function(keeping folder)
  install(CODE "
    foreach(file ${ARGN})
      get_filename_component(name \"\${file}\" NAME)
      if(EXISTS \"\$ENV{DESTDIR}${folder}/\${name}\")
        message(STATUS \"Kept as it is: \$ENV{DESTDIR}${folder}/\${name}\")
      else()
        file(INSTALL DESTINATION \"${folder}\" TYPE FILE FILES \"\${file}\")
      endif()
    endforeach()")
endfunction()

file(MAKE_DIRECTORY ${installed})
adapt(${CMAKE_SOURCE_DIR}/conf/defaults/sallyport.yaml ${installed}/sallyport.yaml
  "\ncontrol: run/sallyport.sock #" "\ncontrol: ${SALLYPORT_RUN_DIR}/sallyport.sock #"
  " token: run/admin.token}" " token: ${SALLYPORT_STATE_DIR}/admin.token}"
  "\nhits: run/hits " "\nhits: ${SALLYPORT_STATE_DIR}/hits "
  "\n  access: {path: access.log," "\n  access: {path: ${SALLYPORT_LOG_DIR}/access.log,")
adapt(${CMAKE_CURRENT_LIST_DIR}/sallyport.service ${installed}/unit/sallyport.service
  "=/usr/bin/sallyport " "=%program% " /etc/sallyport ${SALLYPORT_CONF_DIR})
adapt(${CMAKE_CURRENT_LIST_DIR}/sallyport.logrotate ${installed}/logrotate/sallyport
  "(/usr/bin/sallyport " "(%program% " /etc/sallyport ${SALLYPORT_CONF_DIR} /var/log/sallyport ${SALLYPORT_LOG_DIR})
compressed(${CMAKE_CURRENT_LIST_DIR}/sallyport.1 ${installed}/sallyport.1.gz)
file(GLOB lists CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/conf/defaults/lists/*.list)
if(NOT lists)
  message(FATAL_ERROR "conf/defaults/lists has no list")
endif()
# Examples name lists from where they stand in the sources; installed, they name the installed lists.
file(GLOB examples CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/conf/presets/examples/*.yaml)
foreach(example IN LISTS examples)
  get_filename_component(name ${example} NAME)
  adapt(${example} ${installed}/examples/${name} " ../" " ${SALLYPORT_CONF_DIR}/lists/")
  list(APPEND installed_examples ${installed}/examples/${name})
endforeach()

install(TARGETS sallyport RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
install(FILES ${installed}/sallyport.1.gz DESTINATION ${CMAKE_INSTALL_MANDIR}/man1)
naming(${installed}/unit/sallyport.service)
install(FILES ${installed}/unit/sallyport.service.named/sallyport.service DESTINATION lib/systemd/system)
install(FILES ${CMAKE_SOURCE_DIR}/README.md ${CMAKE_SOURCE_DIR}/LICENSE DESTINATION ${CMAKE_INSTALL_DOCDIR})
install(FILES ${CMAKE_SOURCE_DIR}/conf/handbook/active-directory.md DESTINATION ${CMAKE_INSTALL_DOCDIR})
install(FILES ${CMAKE_SOURCE_DIR}/conf/presets/README.md DESTINATION ${CMAKE_INSTALL_DOCDIR}/presets)
install(FILES ${installed_examples} DESTINATION ${CMAKE_INSTALL_DOCDIR}/presets/examples)
keeping(${SALLYPORT_CONF_DIR} ${installed}/sallyport.yaml ${CMAKE_SOURCE_DIR}/conf/defaults/policy.yaml)
keeping(${SALLYPORT_CONF_DIR}/lists ${lists})
naming(${installed}/logrotate/sallyport)
keeping(/etc/logrotate.d ${installed}/logrotate/sallyport.named/sallyport)

include(${CMAKE_CURRENT_LIST_DIR}/cpack.cmake)
